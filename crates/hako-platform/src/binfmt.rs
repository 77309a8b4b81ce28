//! Interpreters that a Linux host has registered (`binfmt_misc`): which
//! architectures they run, from the files in `/proc/sys/fs/binfmt_misc`.

/// The architecture, by Go's name, that the entry with this content runs:
///
/// ```text
/// enabled
/// interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
/// flags: POCF
/// offset 0
/// magic 7f454c460201010000000000000000000200b700
/// mask ffffffffffffff00fffffffffffffffffeffffff
/// ```
///
/// `None` for one that is off, that is for no ELF program, or whose interpreter
/// is not opened beforehand (`F`): a container's root does not have it.
#[must_use]
pub fn architecture(entry: &str) -> Option<&'static str> {
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let enabled = entry.lines().next().is_some_and(|line| line.trim() == "enabled");
    let opened = field("flags:").is_some_and(|flags| flags.contains('F'));
    if !enabled || !opened || field("offset ").is_some_and(|offset| offset != "0") {
        return None;
    }
    of_header(&bytes(field("magic ")?)?)
}

/// The architectures that entries with these contents run, each once.
#[must_use]
pub fn architectures(entries: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> =
        entries.into_iter().filter_map(|text| architecture(&text).map(str::to_owned)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    hex.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// By the class, the byte order and the machine of an ELF header.
fn of_header(header: &[u8]) -> Option<&'static str> {
    let [0x7f, b'E', b'L', b'F', class, order, ..] = *header else {
        return None;
    };
    let machine: [u8; 2] = header.get(18..20)?.try_into().ok()?;
    let (machine, little) = match order {
        1 => (u16::from_le_bytes(machine), true),
        2 => (u16::from_be_bytes(machine), false),
        _ => return None,
    };
    Some(match (machine, class, little) {
        (3, 1, true) => "386",
        (62, 2, true) => "amd64",
        (40, 1, true) => "arm",
        (183, 2, true) => "arm64",
        (243, 2, true) => "riscv64",
        (258, 2, true) => "loong64",
        (21, 2, true) => "ppc64le",
        (21, 2, false) => "ppc64",
        (22, 2, false) => "s390x",
        (8, 2, true) => "mips64le",
        (8, 2, false) => "mips64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn entries() {
        assert_eq!(architecture(ARM64), Some("arm64"));
        assert_eq!(architecture(&ARM64.replace("OCF", "OC")), None);
        assert_eq!(architecture(&ARM64.replace("enabled", "disabled")), None);
        assert_eq!(architecture(&ARM64.replace("0200b700", "02003e00")), Some("amd64"));
        let s390x = ARM64.replace("7f454c4602010100", "7f454c4602020100").replace("0200b700", "00020016");
        assert_eq!(architecture(&s390x), Some("s390x"));
        for odd in [
            "",
            "enabled",
            "enabled\nflags: F\nmagic 7f4",
            "enabled\nflags: F\nmagic xy",
            "enabled\nflags: F\nextension .py",
        ] {
            assert_eq!(architecture(odd), None, "{odd}");
        }
    }
}
