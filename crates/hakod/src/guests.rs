//! The guests that virtual machines boot: kernels with what belongs to them, side
//! by side, each in a folder of its own.
//!
//! ```text
//! <programs>/guest/            vmlinux initramfs.cpio [guest.json]       "default"
//! <programs>/guests/<name>/    guest.json, the files that it names, [hako-init]
//! <data root>/guests/<name>/   the same, of the administrator
//! ```
//!
//! They are looked for when they are needed: one that is installed while the
//! engine runs is there.

use crate::{Engine, containers::record::Record, images::ResolvedImage, programs, programs::present};
use hako_model::{Error, Result, policy};
use hako_platform::Platform;
use hako_qemu::Board;
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The name of the usual guest.
pub const DEFAULT: &str = "default";
/// Its release where nothing says it: guest/kernel's.
const DEFAULT_RELEASE: &str = "6.12";
const DESCRIPTION: &str = "guest.json";

/// `guest.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Description {
    /// `linux`.
    os: String,
    /// Go's name; the board's.
    architecture: String,
    /// `uname -r`.
    kernel: String,
    board: Board,
    /// The QEMU program, where it is not the board's usual one.
    #[serde(default)]
    qemu: Option<PathBuf>,
    /// The kernel's file, in this folder.
    image: String,
    #[serde(default = "initramfs")]
    initramfs: String,
    /// How often the kernel ticks (`CONFIG_HZ`).
    #[serde(default)]
    hz: Option<u64>,
    /// More for its command line.
    #[serde(default)]
    kernel_args: Vec<String>,
}

fn initramfs() -> String {
    "initramfs.cpio".to_owned()
}

/// A guest that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// What `--kernel` takes.
    pub name: String,
    /// `uname -r`, or the beginning of it.
    pub release: String,
    /// What it is made for.
    pub board: Board,
    /// The QEMU program that has the board.
    pub qemu: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// `hako-init` for its processors.
    pub init: PathBuf,
    /// How often its kernel ticks, if that is known.
    pub hz: Option<u64>,
    /// For its kernel's command line.
    pub kernel_args: Vec<String>,
}

impl Guest {
    /// Whether its programs run on this host's processors.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.board.architecture() == policy::native_arch()
    }

    /// Of its release, for profiles that ask for a kernel.
    #[must_use]
    pub fn kernel_version(&self) -> (u32, u32) {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Checks that its files are there.
    fn present(self) -> Result<Self> {
        present(&self.kernel)?;
        present(&self.initramfs)?;
        Ok(self)
    }

    fn read(name: &str, folder: &Path, init: &Path) -> Result<Self> {
        let path = folder.join(DESCRIPTION);
        let bad = |what: String| Error::internal(format!("guest {name}: {}: {what}", path.display()));
        let text = fs::read(&path).map_err(|err| bad(err.to_string()))?;
        let said: Description = serde_json::from_slice(&text).map_err(|err| bad(err.to_string()))?;
        if (said.os.as_str(), said.architecture.as_str()) != ("linux", said.board.architecture()) {
            let board = said.board;
            let (os, architecture) = (said.os, said.architecture);
            return Err(bad(format!("the board {board} is linux/{}, not {os}/{architecture}", board.architecture())));
        }
        if let Some(name) = [&said.image, &said.initramfs].into_iter().find(|name| name.contains('/')) {
            return Err(bad(format!("{name:?} is no file of this folder")));
        }
        let own_init = folder.join("hako-init");
        Ok(Self {
            name: name.to_owned(),
            release: said.kernel,
            board: said.board,
            qemu: said.qemu.unwrap_or_else(|| said.board.qemu().into()),
            kernel: folder.join(said.image),
            initramfs: folder.join(said.initramfs),
            init: if own_init.is_file() { own_init } else { init.to_owned() },
            hz: said.hz,
            kernel_args: said.kernel_args,
        })
    }
}

/// Where guests lie.
#[derive(Debug, Clone)]
pub struct Guests {
    folders: Vec<PathBuf>,
    usual: Option<PathBuf>,
    init: PathBuf,
}

impl Guests {
    /// Beside the programs and below the data root; the first of a name counts.
    #[must_use]
    pub fn new(data_root: &Path, init: &Path) -> Self {
        let beside = programs::folders();
        let usual = beside.iter().map(|folder| folder.join("guest")).find(|folder| folder.is_dir());
        let folders = beside.iter().map(PathBuf::as_path).chain([data_root]).map(|folder| folder.join("guests"));
        Self { folders: folders.collect(), usual, init: init.to_owned() }
    }

    /// The default guest, also where its files are missing: whoever needs them says so.
    #[must_use]
    pub fn default(&self) -> Guest {
        let folder = self.usual.clone().unwrap_or_else(|| "/usr/lib/hako/guest".into());
        Guest::read(DEFAULT, &folder, &self.init).unwrap_or_else(|_| Guest {
            name: DEFAULT.to_owned(),
            release: DEFAULT_RELEASE.to_owned(),
            board: Board::Microvm,
            qemu: Board::Microvm.qemu().into(),
            kernel: folder.join("vmlinux"),
            initramfs: folder.join(initramfs()),
            init: self.init.clone(),
            hz: None,
            kernel_args: Vec::new(),
        })
    }

    /// Those that are whole, the default one first, then by name.
    #[must_use]
    pub fn all(&self) -> Vec<Guest> {
        let mut names: Vec<String> = Vec::new();
        for folder in &self.folders {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            names.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
        }
        names.sort_unstable();
        names.dedup();
        let others = names.iter().filter(|name| *name != DEFAULT).filter_map(|name| {
            let found = self.named(name);
            if let Err(err) = &found {
                tracing::debug!("{}", err.message);
            }
            found.ok()
        });
        self.default().present().ok().into_iter().chain(others).collect()
    }

    /// Those that boot here: one for other processors where the emulator for it is
    /// installed.
    #[must_use]
    pub fn bootable(&self) -> Vec<Guest> {
        let boots = |guest: &Guest| guest.is_native() || hako_qemu::is_installed(&guest.qemu);
        self.all().into_iter().filter(boots).collect()
    }

    /// The guest `name`.
    ///
    /// # Errors
    /// There is none, or what is wrong with it.
    pub fn named(&self, name: &str) -> Result<Guest> {
        if name == DEFAULT {
            return self.default().present();
        }
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        let mut places = self.folders.iter().map(|folder| folder.join(name)).filter(|_| plain);
        match places.find(|folder| folder.join(DESCRIPTION).is_file()) {
            Some(folder) => Guest::read(name, &folder, &self.init)?.present(),
            None => Err(Error::not_found(format!("no guest kernel is named {name:?}"))),
        }
    }

    /// The usual guest for an architecture, by Go's name.
    ///
    /// # Errors
    /// There is none.
    pub fn usual(&self, architecture: &str) -> Result<Guest> {
        if architecture == self.default().board.architecture() {
            let whole = self.all().into_iter().find(|guest| guest.board.architecture() == architecture);
            // What is missing is best told of the default one.
            return whole.map_or_else(|| self.default().present(), Ok);
        }
        let found = self.all().into_iter().find(|guest| guest.board.architecture() == architecture);
        found.ok_or_else(|| {
            Error::unsupported(format!("no guest for linux/{architecture} is installed: see cargo xtask guest"))
        })
    }
}

/// The guest of a container: the one that its record names, the one that it asks
/// for, the one that its image or the configuration names if that serves, or the
/// usual one.
///
/// # Errors
/// There is none, or it is for other processors than the image.
pub fn of(engine: &Engine, record: &Record, image: &ResolvedImage) -> Result<Guest> {
    // As placement has it: an image may say `aarch64` for `arm64`.
    let wanted = Platform::new(&image.os, &image.architecture, &image.variant).architecture;
    let fits = |guest: &Guest| guest.board.architecture() == wanted;
    if let Some(name) = record.kernel.as_ref().or(record.vm.own.kernel.as_ref()) {
        let guest = engine.guests.named(name)?;
        if fits(&guest) {
            return Ok(guest);
        }
        let own = guest.board.architecture();
        return Err(Error::unsupported(format!(
            "guest kernel {name} is for linux/{own}, and the image for linux/{wanted}"
        )));
    }
    let usual = record.vm.usual.kernel.as_ref().and_then(|name| engine.guests.named(name).ok());
    usual.filter(fits).map_or_else(|| engine.guests.usual(&wanted), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(root: &Path, name: &str, text: &str) {
        let folder = root.join("guests").join(name);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [(DESCRIPTION, text), ("vmlinuz", "k"), ("initramfs.cpio", "i")] {
            fs::write(folder.join(file), text).unwrap();
        }
    }

    fn guests(root: &Path) -> Guests {
        Guests { folders: vec![root.join("guests")], usual: Some(root.join("guest")), init: "/x/hako-init".into() }
    }

    const ARM: &str =
        r#"{"os":"linux","architecture":"arm64","kernel":"6.1.0-57-cloud-arm64","board":"virt","image":"vmlinuz"}"#;

    #[test]
    fn guests_of_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let guests = guests(root.path());
        assert!(guests.all().is_empty());
        install(root.path(), "arm64", ARM);
        install(root.path(), "broken", "{");
        install(root.path(), "wrong", &ARM.replace("\"arm64\"", "\"amd64\""));
        install(root.path(), "outside", &ARM.replace("vmlinuz", "../vmlinuz"));
        let all = guests.all();
        assert_eq!(all.iter().map(|guest| guest.name.as_str()).collect::<Vec<_>>(), ["arm64"]);
        let arm = guests.named("arm64").unwrap();
        assert_eq!((arm.qemu.to_str(), arm.kernel_version()), (Some("qemu-system-aarch64"), (6, 1)));
        assert_eq!(arm.init, Path::new("/x/hako-init"));
        fs::write(root.path().join("guests/arm64/hako-init"), "").unwrap();
        assert!(guests.named("arm64").unwrap().init.ends_with("guests/arm64/hako-init"));
        for (name, why) in
            [("broken", "EOF"), ("wrong", "linux/arm64"), ("outside", "no file"), ("none", "no guest"), ("../x", "no")]
        {
            let err = guests.named(name).unwrap_err();
            assert!(err.message.contains(why), "{err}");
        }
        assert_eq!(guests.usual("arm64").unwrap().name, "arm64");
        assert!(guests.usual("s390x").unwrap_err().message.contains("linux/s390x"));
        assert!(guests.usual("amd64").unwrap_err().message.contains("vmlinux"));
    }

    #[test]
    fn the_default_guest_comes_first() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("guest");
        fs::create_dir(&folder).unwrap();
        install(root.path(), "another", &ARM.replace("\"arm64\"", "\"amd64\"").replace("virt", "microvm-acpi"));
        for file in ["vmlinux", "initramfs.cpio"] {
            fs::write(folder.join(file), "").unwrap();
        }
        let guests = guests(root.path());
        let names: Vec<String> = guests.all().into_iter().map(|guest| guest.name).collect();
        assert_eq!(names, ["default", "another"]);
        assert_eq!(guests.usual("amd64").unwrap().name, "default");
        assert_eq!(guests.default().kernel_version(), (6, 12));
    }
}
