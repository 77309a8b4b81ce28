//! `--platform` of a create.

use crate::images::Wanted;
use hako_model::{Error, Result};

/// The processors that containerd knows, by Go's names.
const PROCESSORS: [&str; 12] =
    ["386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"];

/// What was asked for, if anything was. A client that is told "not found" pulls:
/// what no image can be is said first.
///
/// # Errors
/// A specifier that is none.
pub fn parse(text: &str) -> Result<Option<Wanted>> {
    let wanted = Wanted::read(text).map_err(|err| Error::invalid(format!("{err}: invalid argument")))?;
    let known = |wanted: &Wanted| {
        let platform = &wanted.platform;
        text.contains('/') || platform.os != "linux" || PROCESSORS.contains(&platform.architecture.as_str())
    };
    match wanted {
        Some(wanted) if !known(&wanted) => {
            Err(Error::invalid(format!("\"{text}\": unknown operating system or architecture: invalid argument")))
        }
        wanted => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers() {
        let good = ["linux", "amd64", "linux/arm/v7", "windows", "aarch64", "windows(10.0.20348)/amd64", ""];
        assert!(good.iter().all(|text| parse(text).is_ok()));
        let says = |text: &str| parse(text).unwrap_err().message;
        assert_eq!(says("a/b/c/d"), "\"a/b/c/d\": cannot parse platform specifier: invalid argument");
        assert_eq!(says("thing"), "\"thing\": unknown operating system or architecture: invalid argument");
        assert!(says("li!x/amd64").contains("is an invalid component"));
    }
}
