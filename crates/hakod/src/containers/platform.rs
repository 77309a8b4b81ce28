//! `--platform` of a create, and that an image can run on this host: there is no
//! emulation of processors.

use crate::images::ResolvedImage;
use hako_model::{Error, Result, policy};
use hako_registry::Platform;

/// The processors that containerd knows, by Go's names.
const PROCESSORS: [&str; 12] =
    ["386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"];

/// Checks that `image`, asked for as `name`, is for this host.
///
/// # Errors
/// An image for another platform.
pub fn check(image: &ResolvedImage, name: &str) -> Result<()> {
    let native = policy::native_arch();
    if image.os == "linux" && image.architecture == native {
        return Ok(());
    }
    let variant = if image.variant.is_empty() { String::new() } else { format!("/{}", image.variant) };
    Err(Error::unsupported(format!(
        "image {name} is for {}/{}{variant}, and this host runs linux/{native}: processors are not emulated",
        image.os, image.architecture
    )))
}

/// What was asked for. A client that is told "not found" pulls: what no image
/// can be is said first.
///
/// # Errors
/// A specifier that is none.
pub fn parse(wanted: &str) -> Result<Platform> {
    let platform = Platform::parse(wanted).map_err(|err| Error::invalid(format!("{err}: invalid argument")))?;
    let known = wanted.contains('/') || platform.os != "linux" || PROCESSORS.contains(&platform.architecture.as_str());
    if known {
        return Ok(platform);
    }
    Err(Error::invalid(format!("\"{wanted}\": unknown operating system or architecture: invalid argument")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers() {
        assert!(["linux", "amd64", "linux/arm/v7", "windows", "aarch64"].iter().all(|text| parse(text).is_ok()));
        let says = |text: &str| parse(text).unwrap_err().message;
        assert_eq!(says("a/b/c/d"), "\"a/b/c/d\": cannot parse platform specifier: invalid argument");
        assert_eq!(says("thing"), "\"thing\": unknown operating system or architecture: invalid argument");
        assert!(says("li!x/amd64").contains("is an invalid component"));
    }
}
