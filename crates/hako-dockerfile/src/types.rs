//! A Dockerfile that was read: stages of steps. Values are unexpanded.

use crate::{
    Result,
    mount::{self, RunMount},
};

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// `# syntax=`: which frontend BuildKit would fetch. There is one here, so it is only told.
    pub syntax: Option<String>,
    /// The escape character: `\`, or `` ` `` by `# escape=`.
    pub escape: char,
    /// The `ARG`s before the first `FROM`: name and value.
    pub global_args: Vec<Step>,
    /// At least one.
    pub stages: Vec<Stage>,
}

/// From one `FROM` to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// `AS name`, in lower case.
    pub name: Option<String>,
    /// The image or the earlier stage, unexpanded.
    pub base: String,
    /// `--platform`, unexpanded.
    pub platform: Option<String>,
    /// The line of `FROM`, from 1.
    pub line: usize,
    /// The `FROM` as docker prints it.
    pub original: String,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// As docker prints it in `Step 3/7 : …`: continued lines joined, heredocs left out.
    pub original: String,
    /// What it says.
    pub instruction: Instruction,
}

/// What an instruction says. `FROM` is [`Stage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `ARG name[=value] …`
    Arg(Vec<(String, Option<String>)>),
    /// `ENV name=value …`
    Env(Vec<(String, String)>),
    /// `LABEL name=value …`
    Label(Vec<(String, String)>),
    /// `RUN`
    Run(Run),
    /// `COPY`
    Copy(Copy),
    /// `ADD`
    Add(Add),
    /// `WORKDIR path`
    Workdir(String),
    /// `USER user[:group]`
    User(String),
    /// `VOLUME path …`
    Volume(Vec<String>),
    /// `EXPOSE port[/protocol] …`, sorted as docker does.
    Expose(Vec<String>),
    /// `STOPSIGNAL signal`
    StopSignal(String),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `SHELL ["…"]`
    Shell(Vec<String>),
    /// `ONBUILD …`: the trigger as [`crate::parse_onbuild`] takes it.
    Onbuild(String),
    /// `ENTRYPOINT`; an empty command takes the image's away.
    Entrypoint(Command),
    /// `CMD`
    Cmd(Command),
    /// `MAINTAINER name`
    Maintainer(String),
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// For the shell: one text.
    Shell(String),
    /// `["program", "argument"]`.
    Exec(Vec<String>),
}

impl Command {
    /// What is executed where `shell` is the shell. As in Docker that is the shell
    /// without a script where a `CMD` or `RUN` says nothing.
    pub fn argv(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Exec(argv) => argv.clone(),
            Self::Shell(text) if text.is_empty() => shell.to_vec(),
            Self::Shell(text) => [shell, std::slice::from_ref(text)].concat(),
        }
    }

    /// Whether there is nothing to execute.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Shell(text) => text.is_empty(),
            Self::Exec(argv) => argv.is_empty(),
        }
    }
}

/// A here-document: `<<name`, its lines, `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes: for `COPY` the file's name.
    pub name: String,
    /// Whether variables in it are expanded: the word was not quoted.
    pub expand: bool,
    /// Whether tabs at the beginning of lines are dropped: `<<-`.
    pub chomp: bool,
    /// The lines as they stand in the file.
    pub raw: String,
}

impl Heredoc {
    /// The text, without leading tabs where `<<-` says so.
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.raw.clone();
        }
        self.raw.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub command: Command,
    /// The here-documents that the command's line names, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount` as given, in order: [`Run::mounts`] reads them.
    pub mounts: Vec<String>,
    /// `--network`: `default`, `none` or `host`.
    pub network: Option<String>,
    /// `--security`: `sandbox` or `insecure`.
    pub security: Option<String>,
}

/// What a `RUN` executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunProgram {
    /// This argument list.
    Argv(Vec<String>),
    /// A heredoc that begins with `#!`: it is executed as the file of that name,
    /// of mode 0755, in a folder that is mounted for this step alone.
    Script {
        /// The file's name.
        name: String,
        /// Its content.
        content: String,
    },
}

impl Run {
    /// What is executed where `shell` is the shell. A command that is a heredoc alone
    /// is the script itself; a longer one is given to the shell with its heredocs.
    pub fn program(&self, shell: &[String]) -> RunProgram {
        let (Command::Shell(line), Some(first)) = (&self.command, self.heredocs.first()) else {
            return RunProgram::Argv(self.command.argv(shell));
        };
        let text = if crate::lines::is_heredoc_word(line) {
            let content = first.content();
            if content.starts_with("#!") {
                return RunProgram::Script { name: first.name.clone(), content };
            }
            content
        } else {
            let mut text = line.clone();
            for heredoc in &self.heredocs {
                text.extend(["\n", &heredoc.raw, &heredoc.name]);
            }
            text
        };
        RunProgram::Argv([shell, std::slice::from_ref(&text)].concat())
    }

    /// The mounts, their values expanded by `expand`.
    ///
    /// # Errors
    /// BuildKit's words for what is wrong with one.
    pub fn mounts(&self, expand: &dyn Fn(&str) -> Result<String>) -> Result<Vec<RunMount>> {
        self.mounts.iter().map(|text| mount::parse(text, expand)).collect()
    }

    /// The stages and images that mounts take files from.
    pub fn mounted_from(&self) -> Vec<String> {
        self.mounts.iter().filter_map(|text| mount::from(text)).collect()
    }
}

/// Where a file of `COPY` or `ADD` comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path or pattern in the context or stage; of `ADD` also a URL.
    Path(String),
    /// A file that stands in the Dockerfile.
    Heredoc(Heredoc),
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// At least one.
    pub sources: Vec<Source>,
    /// Where to.
    pub dest: String,
    /// `--from`: a stage's name or number, or an image.
    pub from: Option<String>,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<String>,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Add {
    /// At least one.
    pub sources: Vec<Source>,
    /// Where to.
    pub dest: String,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--link`
    pub link: bool,
    /// `--checksum` of a URL's file.
    pub checksum: Option<String>,
    /// `--keep-git-dir`
    pub keep_git_dir: bool,
    /// `--unpack`: whether archives are unpacked, which otherwise their kind decides.
    pub unpack: Option<bool>,
    /// `--exclude`, in order.
    pub exclude: Vec<String>,
}

/// `HEALTHCHECK`, its times in nanoseconds and 0 where not given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Healthcheck {
    /// What is run; `None` for `HEALTHCHECK NONE`.
    pub command: Option<Command>,
    /// `--interval`
    pub interval: i64,
    /// `--timeout`
    pub timeout: i64,
    /// `--start-period`
    pub start_period: i64,
    /// `--start-interval`
    pub start_interval: i64,
    /// `--retries`
    pub retries: i64,
}
