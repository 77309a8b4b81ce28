//! `--platform` of a create. It must be the image's own: there is no emulation
//! of processors.

use crate::images::ResolvedImage;
use hako_model::{Error, Result, policy};
use hako_registry::Platform;

/// The processors that containerd knows, by Go's names.
const PROCESSORS: [&str; 12] =
    ["386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"];

/// Checks that `image`, asked for as `name`, is for `wanted` and for this host.
///
/// # Errors
/// A specifier that is none; an image for another platform.
pub fn check(image: &ResolvedImage, wanted: &str, name: &str) -> Result<()> {
    let found = format!("{}/{}", image.os, image.architecture);
    let offered =
        Platform { os: image.os.clone(), architecture: image.architecture.clone(), variant: image.variant.clone() };
    if !wanted.is_empty() && parse(wanted)?.accepts(&offered).is_none() {
        return Err(Error::not_found(format!(
            "image with reference {name} was found but its platform ({found}) does not match the specified platform ({wanted})"
        )));
    }
    if image.os != "linux" || image.architecture != policy::native_arch() {
        return Err(Error::unsupported(format!(
            "image {name} is for {found}, and this host runs linux/{}",
            policy::native_arch()
        )));
    }
    Ok(())
}

/// A client that is told "not found" pulls: what no image can be is said first.
fn parse(wanted: &str) -> Result<Platform> {
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
