//! The arguments of `ps`, as far as they choose columns. Which processes are
//! listed is not theirs to say: the container's, all of them.

use super::columns::{self, Column};
use hako_model::{Error, Result};

/// Formats that options stand for, by procps's names for columns.
const FULL: &str = "uid_name,pid,ppid,c,stime,tname,time,cmd";
const EXTRA_FULL: &str = "uid_name,pid,ppid,c,sz,rss,psr,stime,tname,time,cmd";
const LONG: &str = "f,s,uid,pid,ppid,c,opri,ni,addr,sz,wchan,tname,time,ucmd";
const LONG_RSS: &str = "s,uid,pid,ppid,c,opri,ni,rss,sz,wchan,tname,time,ucmd";
const LONG_FULL: &str = "f,s,uid_name,pid,ppid,c,opri,ni,addr,sz,wchan,stime,tname,time,cmd";
const JOBS: &str = "pid,pgid,sid,tname,time,ucmd";
const JOBS_FULL: &str = "uid_name,pid,ppid,pgid,sid,c,stime,tname,time,cmd";
const PLAIN: &str = "pid,tname,time,ucmd";
const BSD_PLAIN: &str = "pid,tname,stat,bsdtime,args";
const BSD_USER: &str = "user,pid,%cpu,%mem,vsz,rss,tname,stat,bsdstart,bsdtime,args";
const BSD_LONG: &str = "f,uid,pid,ppid,priority,ni,vsz,rss,wchan,stat,tname,bsdtime,args";
const BSD_JOBS: &str = "ppid,pid,pgid,sid,tname,tpgid,stat,uid,bsdtime,args";

/// What the options say.
#[derive(Debug, Default)]
struct Options {
    columns: Vec<Column>,
    full: bool,
    extra_full: bool,
    long: bool,
    jobs: bool,
    rss: bool,
    bsd: bool,
    bsd_user: bool,
    bsd_long: bool,
    bsd_jobs: bool,
}

/// The columns that `ps <arguments>` shows.
///
/// # Errors
/// procps's words for a column that there is not, and a clear refusal of
/// options that do more than choose columns.
pub(super) fn parse(arguments: &str) -> Result<Vec<Column>> {
    refuse_false_pids(arguments)?;
    let mut options = Options::default();
    let mut words = arguments.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            options.long_option(long, &mut words)?;
        } else if let Some(letters) = word.strip_prefix('-') {
            options.unix(letters, &mut words)?;
        } else {
            options.bsd(word, &mut words)?;
        }
    }
    options.columns()
}

/// A column that claims to be the process's number and is another. Docker's words.
fn refuse_false_pids(arguments: &str) -> Result<()> {
    let words: Vec<&str> = arguments.split_ascii_whitespace().skip(1).collect();
    for word in words.iter().flat_map(|word| word.split(',')) {
        if let Some((column, title)) = word.split_once('=')
            && title.starts_with("PID")
            && column != "pid"
        {
            return Err(Error::invalid(format!("specifying \"{column}={title}\" is not allowed")));
        }
    }
    Ok(())
}

fn refused(option: &str) -> Error {
    Error::unsupported(format!("ps option {option} in top: only options that choose columns are"))
}

impl Options {
    fn long_option<'a>(&mut self, option: &str, words: &mut impl Iterator<Item = &'a str>) -> Result<()> {
        let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        match name {
            "format" => self.add(value.or_else(|| words.next())),
            "cols" | "columns" | "width" => {
                if value.is_none() {
                    words.next();
                }
                Ok(())
            }
            "headers" => Ok(()),
            _ => Err(refused(&format!("--{name}"))),
        }
    }

    fn unix<'a>(&mut self, letters: &str, words: &mut impl Iterator<Item = &'a str>) -> Result<()> {
        for (at, letter) in letters.char_indices() {
            match letter {
                // Selections: with the container's processes named, they select no fewer.
                'e' | 'A' | 'a' | 'd' | 'w' => {}
                'f' => self.full = true,
                'F' => self.extra_full = true,
                'l' => self.long = true,
                'j' => self.jobs = true,
                'y' => self.rss = true,
                'o' => return self.add(rest(&letters[at + 1..]).or_else(|| words.next())),
                other => return Err(refused(&format!("-{other}"))),
            }
        }
        Ok(())
    }

    fn bsd<'a>(&mut self, letters: &str, words: &mut impl Iterator<Item = &'a str>) -> Result<()> {
        for (at, letter) in letters.char_indices() {
            self.bsd = true;
            match letter {
                'a' | 'x' | 'g' | 'w' => {}
                'u' => self.bsd_user = true,
                'l' => self.bsd_long = true,
                'j' => self.bsd_jobs = true,
                'o' => return self.add(rest(&letters[at + 1..]).or_else(|| words.next())),
                other => return Err(refused(&other.to_string())),
            }
        }
        Ok(())
    }

    /// `pid,user=WHO`: what follows an equals sign is the title to its end.
    fn add(&mut self, list: Option<&str>) -> Result<()> {
        let list = list.ok_or_else(|| Error::invalid("ps: error: format specification must follow -o"))?;
        let (names, title) = list.split_once('=').map_or((list, None), |(names, title)| (names, Some(title)));
        let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
        for (at, name) in names.iter().enumerate() {
            let title = title.filter(|_| at + 1 == names.len());
            self.columns.push(columns::find(name, title)?);
        }
        Ok(())
    }

    fn columns(self) -> Result<Vec<Column>> {
        if !self.columns.is_empty() {
            return Ok(self.columns);
        }
        let format = match () {
            () if self.bsd_user => BSD_USER,
            () if self.bsd_long => BSD_LONG,
            () if self.bsd_jobs => BSD_JOBS,
            () if self.long && self.full => LONG_FULL,
            () if self.long && self.rss => LONG_RSS,
            () if self.long => LONG,
            () if self.extra_full => EXTRA_FULL,
            () if self.jobs && self.full => JOBS_FULL,
            () if self.jobs => JOBS,
            () if self.full => FULL,
            () if self.bsd => BSD_PLAIN,
            () => PLAIN,
        };
        format.split(',').map(|name| columns::find(name, None)).collect()
    }
}

fn rest(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(arguments: &str) -> String {
        let columns = parse(arguments).unwrap();
        columns.iter().map(|column| column.title.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn formats_are_procpss() {
        for (arguments, want) in [
            ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
            ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-aux", "refused"),
            ("-eF", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"),
            ("-el", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"),
            ("-e", "PID TTY TIME CMD"),
            ("ax", "PID TTY STAT TIME COMMAND"),
            ("-eo pid,user,args", "PID USER COMMAND"),
            ("-opid -o comm=WHAT,EVER", "PID WHAT,EVER"),
            ("axo pid,stat", "PID STAT"),
            ("--format pid,etimes=", "PID "),
        ] {
            match parse(arguments) {
                Ok(_) => assert_eq!(titles(arguments), want, "{arguments}"),
                Err(_) => assert_eq!("refused", want, "{arguments}"),
            }
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let says = |arguments: &str| parse(arguments).unwrap_err().message;
        assert_eq!(says("-o pid,moon"), "ps: error: unknown user-defined format specifier \"moon\"");
        assert!(says("-ef --forest").contains("--forest"));
        assert_eq!(says("-o ppid=PID"), "specifying \"ppid=PID\" is not allowed");
        assert!(parse("-o").is_err());
    }
}
