//! Docker's command lines as clap reads them.
//!
//! Go's flags differ in small ways: `--rm=true` and `--rm=false` for switches,
//! values that begin with a hyphen (`--memory-swap -1`), and for `run`, `create`
//! and `exec` everything behind the first word belongs to the container. Docker's
//! longer names (`container ls`, `image rm`) stand for the short ones.

use clap::{Arg, ArgAction, Command};

/// Commands whose flags end with the first word that is none.
const NOT_INTERSPERSED: &[&str] = &["run", "create", "exec"];

/// Docker's names by object, and the command that each stands for.
const OBJECT_COMMANDS: &[(&str, &str, &str)] = &[
    ("container", "ls", "ps"),
    ("container", "list", "ps"),
    ("container", "ps", "ps"),
    ("image", "ls", "images"),
    ("image", "list", "images"),
    ("image", "rm", "rmi"),
    ("image", "remove", "rmi"),
    ("image", "pull", "pull"),
    ("image", "build", "build"),
    ("builder", "build", "build"),
    ("image", "load", "load"),
    ("image", "tag", "tag"),
    ("image", "history", "history"),
];

/// The container commands that keep their name behind `container`.
const CONTAINER_COMMANDS: &[&str] = &[
    "run", "create", "start", "stop", "restart", "kill", "rm", "logs", "attach", "exec", "wait", "rename", "pause",
    "unpause", "top", "stats", "update", "cp", "diff", "export", "commit",
];

/// The short form of `container X` and `image X`.
pub(crate) fn shorten(args: &mut Vec<String>, at: usize) {
    let (Some(object), Some(verb)) = (args.get(at), args.get(at + 1)) else { return };
    let short = OBJECT_COMMANDS.iter().find(|(o, v, _)| o == object && v == verb).map(|(.., short)| *short);
    if let Some(short) = short {
        args.splice(at..=at + 1, [short.to_owned()]);
    } else if object == "container" && CONTAINER_COMMANDS.contains(&verb.as_str()) {
        args.remove(at);
    } else if matches!(object.as_str(), "container" | "image") && verb == "inspect" {
        let kind = format!("--type={object}");
        args.splice(at..=at + 1, ["inspect".to_owned(), kind]);
    }
}

/// Where the first word that is no flag stands, from `from` on.
pub(crate) fn first_word(args: &[String], command: &Command, from: usize) -> Option<usize> {
    let mut index = from;
    while let Some(word) = args.get(index) {
        if word == "--" {
            return None;
        }
        if !is_flag(word) {
            return Some(index);
        }
        index += if takes_next(word, command) { 2 } else { 1 };
    }
    None
}

/// Rewrites the flags of `command`, which begin at `from`.
pub(crate) fn normalise(args: &[String], command: &Command, from: usize) -> Vec<String> {
    let stop_at_word = NOT_INTERSPERSED.contains(&command.get_name());
    let mut out = args[..from.min(args.len())].to_vec();
    let mut rest = args.iter().skip(from);
    while let Some(word) = rest.next() {
        if word == "--" || (stop_at_word && !is_flag(word)) {
            if word != "--" {
                out.push("--".to_owned());
            }
            out.push(word.clone());
            out.extend(rest.cloned());
            break;
        }
        match switch_value(word, command) {
            Some((name, true)) => out.push(name),
            Some((_, false)) => {}
            None if takes_next(word, command) => match rest.next() {
                Some(value) => out.push(format!("{word}={value}")),
                None => out.push(word.clone()),
            },
            None => out.push(word.clone()),
        }
    }
    out
}

fn is_flag(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

fn is_switch(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count | ArgAction::Help | ArgAction::Version
    )
}

fn long<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name)))
}

fn short(command: &Command, letter: char) -> Option<&Arg> {
    command.get_arguments().find(|arg| arg.get_short() == Some(letter))
}

/// Whether the value of flag `word` is the next word.
fn takes_next(word: &str, command: &Command) -> bool {
    if let Some(name) = word.strip_prefix("--") {
        return !name.contains('=')
            && long(command, name).is_some_and(|arg| !is_switch(arg) && !arg.is_require_equals_set());
    }
    let mut letters = word[1..].chars();
    while let Some(letter) = letters.next() {
        match short(command, letter) {
            Some(arg) if is_switch(arg) => {}
            Some(_) => return letters.next().is_none(),
            None => return false,
        }
    }
    false
}

/// `--switch=true` and `--switch=false`.
fn switch_value(word: &str, command: &Command) -> Option<(String, bool)> {
    let (name, value) = word.strip_prefix("--")?.split_once('=')?;
    let arg = long(command, name)?;
    let on = match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => return None,
    };
    is_switch(arg).then(|| (format!("--{name}"), on))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Command {
        Command::new("run")
            .arg(Arg::new("rm").long("rm").action(ArgAction::SetTrue))
            .arg(Arg::new("it").short('i').long("interactive").action(ArgAction::SetTrue))
            .arg(Arg::new("tty").short('t').long("tty").action(ArgAction::SetTrue))
            .arg(Arg::new("env").short('e').long("env").action(ArgAction::Append))
            .arg(Arg::new("swap").long("memory-swap").action(ArgAction::Set))
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_containers_words_are_left_alone() {
        let out = normalise(&words("hako run --rm=true -it -e A=1 --memory-swap -1 img -- --rm=false -x"), &run(), 2);
        assert_eq!(out, words("hako run --rm -it -e=A=1 --memory-swap=-1 -- img -- --rm=false -x"));
        assert_eq!(
            normalise(&words("hako run --rm=false -ite -x img ls"), &run(), 2),
            words("hako run -ite=-x -- img ls")
        );
        assert_eq!(normalise(&words("hako run -- img ls"), &run(), 2), words("hako run -- img ls"));
    }

    #[test]
    fn objects_are_short_names() {
        for (long, expected) in [
            ("hako container ls -a", "hako ps -a"),
            ("hako image rm x", "hako rmi x"),
            ("hako container run -it x", "hako run -it x"),
            ("hako image inspect x", "hako inspect --type=image x"),
            ("hako container --help", "hako container --help"),
        ] {
            let mut args = words(long);
            shorten(&mut args, 1);
            assert_eq!(args, words(expected));
        }
    }

    #[test]
    fn the_first_word() {
        assert_eq!(first_word(&words("hako --rm -e x run img"), &run(), 1), Some(4));
        assert_eq!(first_word(&words("hako --rm"), &run(), 1), None);
    }
}
