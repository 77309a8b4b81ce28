//! What an image may say of the machines of its containers. An image is trusted by
//! nobody: it names what it needs, within bounds that are the administrator's, and
//! nothing that it says is an error of the container that is made from it.

use super::{LABEL_PREFIX, OPTIONS, VmOptions};

/// What the labels of an image get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBounds {
    /// MiB of memory at most.
    pub memory_mib: u64,
    /// Virtual processors at most.
    pub cpus: u32,
    /// MiB of disk at most.
    pub disk_mib: u64,
    /// The other options that are taken, by their names.
    pub allow: Vec<String>,
}

/// What an image's labels may make us say: so many notes, of so many characters.
const MOST_NOTES: usize = 8;
const MOST_NOTE: usize = 300;

impl ImageBounds {
    /// The options that have an amount, and so a bound; the others are allowed or not.
    pub const AMOUNTS: [&str; 3] = ["memory", "cpus", "disk"];

    /// The options of an image's labels within these bounds, and what was not
    /// taken as it stands there.
    #[must_use]
    pub fn options<'a>(&self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> (VmOptions, Vec<String>) {
        let (mut options, mut notes) = (VmOptions::default(), Vec::new());
        for (label, value) in labels {
            let Some(option) = label.strip_prefix(LABEL_PREFIX) else { continue };
            let known = OPTIONS.contains(&option);
            if notes.len() >= MOST_NOTES {
                break;
            }
            // An image's words go to a terminal.
            let shown = |why: &str| {
                let note = format!("label {label:?} of the image is not taken: {why}");
                note.chars().take(MOST_NOTE).collect::<String>()
            };
            if known && !Self::AMOUNTS.contains(&option) && !self.allow.iter().any(|name| name == option) {
                notes.push(shown("the engine's configuration does not allow it"));
            } else if let Err(err) = options.set(option, value) {
                notes.push(shown(&err.to_string()));
            }
        }
        let mut bound = |option: &str, unit: &str, asked: u64, most: u64| {
            notes.push(format!(
                "label {LABEL_PREFIX}{option} of the image asks for {asked}{unit}, and gets {most}{unit}: \
                 the most that the engine gives an image"
            ));
        };
        if let Some(asked) = options.memory_mib.filter(|asked| *asked > self.memory_mib) {
            bound("memory", " MiB", asked, self.memory_mib);
            options.memory_mib = Some(self.memory_mib);
        }
        if let Some(asked) = options.cpus.filter(|asked| *asked > self.cpus) {
            bound("cpus", "", asked.into(), self.cpus.into());
            options.cpus = Some(self.cpus);
        }
        if let Some(asked) = options.disk_mib.filter(|asked| *asked > self.disk_mib) {
            bound("disk", " MiB", asked, self.disk_mib);
            options.disk_mib = Some(self.disk_mib);
        }
        // A new disk is the copy of an empty one of its size, which is kept: few sizes.
        options.disk_mib = options.disk_mib.map(|mib| mib.next_multiple_of(1024).min(self.disk_mib));
        (options, notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Accelerator;

    const LABELS: [(&str, &str); 6] = [
        ("hako.vm.memory", "8g"),
        ("hako.vm.cpus", "2"),
        ("hako.vm.disk", "1t"),
        ("hako.vm.accelerator", "tcg"),
        ("hako.vm.kernel-args", "slab_nomerge"),
        ("maintainer", "x"),
    ];

    fn bounds(allow: &[&str]) -> ImageBounds {
        let allow = allow.iter().map(|&name| name.to_owned()).collect();
        ImageBounds { memory_mib: 1024, cpus: 4, disk_mib: 20 << 10, allow }
    }

    /// Warnings go to the terminal of who runs the image.
    #[test]
    fn an_images_words_are_short_and_harmless() {
        let label = format!("hako.vm.\u{1b}[2J{}", "x".repeat(1000));
        let (options, notes) = bounds(&[]).options((0..100).map(|_| (label.as_str(), "\u{7}")));
        assert_eq!((options, notes.len()), (VmOptions::default(), MOST_NOTES));
        assert!(notes.iter().all(|note| note.chars().count() <= MOST_NOTE && !note.contains(char::is_control)));
    }

    /// Disks are copies of empty ones, of which few sizes are kept.
    #[test]
    fn an_images_disk_is_of_whole_gibibytes() {
        let disk = |text| bounds(&[]).options([("hako.vm.disk", text)]).0.disk_mib;
        assert_eq!((disk("17m"), disk("1025m"), disk("20g")), (Some(1024), Some(2048), Some(20 << 10)));
    }

    #[test]
    fn an_image_gets_what_the_administrator_gives_it() {
        let (options, notes) = bounds(&[]).options(LABELS);
        let amounts =
            VmOptions { memory_mib: Some(1024), cpus: Some(2), disk_mib: Some(20 << 10), ..VmOptions::default() };
        assert_eq!(options, amounts);
        assert_eq!(notes.len(), 4, "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("hako.vm.accelerator") && note.contains("does not allow")));
        assert!(notes.iter().any(|note| note.contains("asks for 8192 MiB, and gets 1024 MiB")));
        let (options, notes) = bounds(&["accelerator", "kernel-args"]).options(LABELS);
        assert_eq!(
            (options.accelerator, options.kernel_args),
            (Some(Accelerator::Tcg), vec!["slab_nomerge".to_owned()])
        );
        assert_eq!(notes.len(), 2);
    }

    /// An image that says nonsense runs as one that says nothing.
    #[test]
    fn nonsense_is_noted_and_left_out() {
        let labels = [("hako.vm.memory", "lots"), ("hako.vm.bios", "x"), ("hako.vm.kernel-args", "init=/bin/sh")];
        let (options, notes) = bounds(&["kernel-args"]).options(labels);
        assert_eq!(options, VmOptions::default());
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("no such option")), "{notes:?}");
    }
}
