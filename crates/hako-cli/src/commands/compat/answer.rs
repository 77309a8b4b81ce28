//! What `hako compat` says: behind each wall yes or no, with why and what to do.

use hako_model::Isolation;
use hako_platform::{Applied, Host, HostOs, Image, Manifest, Placement, Refusal, Request, place};
use serde_json::{Value, json};
use std::fmt::Write;

/// The answers for one image on one host.
pub(super) struct Answer<'a> {
    name: &'a str,
    image: &'a Image,
    host: &'a Host,
    /// As it was asked for.
    asked: Placed,
    /// The same behind each wall.
    walls: Vec<(Isolation, Placed)>,
}

type Placed = Result<Placement, Box<Refusal>>;

impl<'a> Answer<'a> {
    pub(super) fn new(name: &'a str, image: &'a Image, host: &'a Host, request: &Request) -> Self {
        // Who asks for a wall asks about that one.
        let every = [Isolation::Process, Isolation::Hyperv];
        let walls = every.into_iter().filter(|wall| request.isolation.is_none_or(|asked| asked == *wall));
        let behind = |wall| place(image, host, &Request { isolation: Some(wall), ..request.clone() });
        let walls = walls.map(|wall| (wall, behind(wall))).collect();
        Self { name, image, host, asked: place(image, host, request), walls }
    }

    /// Whether it runs as it was asked for.
    pub(super) fn runs(&self) -> bool {
        self.asked.is_ok()
    }

    pub(super) fn text(&self, explain: bool) -> String {
        let mut out = format!("Image:    {}\nHost:     {}\n", self.image_line(), host_line(self.host));
        match &self.asked {
            Ok(placement) => _ = writeln!(out, "Answer:   runs behind the {} wall", placement.wall),
            Err(refusal) => _ = writeln!(out, "Answer:   does not run: {}", refusal.reason),
        }
        for (wall, placed) in &self.walls {
            let _ = writeln!(out);
            match placed {
                Ok(placement) => self.yes(&mut out, *wall, placement),
                Err(refusal) => no(&mut out, *wall, refusal),
            }
            if explain {
                rules(&mut out, trace(placed));
            }
        }
        out
    }

    fn yes(&self, out: &mut String, wall: Isolation, placement: &Placement) {
        let _ = writeln!(out, "{:<10}yes", wall.as_str());
        if self.image.manifests().len() > 1
            && let Some(manifest) = self.image.manifests().get(placement.manifest)
        {
            line(out, "manifest", &manifest.shown());
        }
        if let Some(kernel) = &placement.kernel {
            let release = kernel.kernel.map_or_else(String::new, |release| format!(" ({release})"));
            line(out, "kernel", &format!("{}{release}", kernel.name));
        }
        if let Some(size) = placement.sizing {
            line(out, "size", &format!("{} MiB, {} CPUs", size.memory_mib, size.cpus));
        }
        for note in &placement.notes {
            line(out, "note", &note.text);
        }
    }

    fn image_line(&self) -> String {
        let manifests = self.image.manifests();
        let shown: Vec<String> = manifests.iter().filter(|one| !one.is_attestation()).map(Manifest::shown).collect();
        format!("{} ({})", self.name, shown.join(", "))
    }

    pub(super) fn json(&self) -> String {
        let walls: serde_json::Map<String, Value> =
            self.walls.iter().map(|(wall, placed)| (wall.to_string(), self.value(placed))).collect();
        let answer = json!({
            "image": self.name,
            "platforms": self.image.manifests().iter().map(Manifest::shown).collect::<Vec<_>>(),
            "host": self.host,
            "answer": self.value(&self.asked),
            "walls": walls,
        });
        super::super::inspect::pretty(&answer)
    }

    fn value(&self, placed: &Placed) -> Value {
        match placed {
            Ok(placement) => {
                let manifest = self.image.manifests().get(placement.manifest);
                json!({
                    "runs": true,
                    "wall": placement.wall,
                    "manifest": manifest.map(|manifest| json!({
                        "index": placement.manifest, "platform": manifest.shown(), "digest": manifest.digest,
                    })),
                    "kernel": placement.kernel,
                    "sizing": placement.sizing,
                    "notes": placement.notes,
                    "rules": placement.trace,
                })
            }
            Err(refusal) => json!({
                "runs": false,
                "message": refusal.to_string(),
                "reason": refusal.reason,
                "remedies": refusal.remedies.iter()
                    .map(|remedy| json!({"text": remedy.to_string(), "steps": remedy}))
                    .collect::<Vec<_>>(),
                "rules": refusal.trace,
            }),
        }
    }
}

fn no(out: &mut String, wall: Isolation, refusal: &Refusal) {
    let _ = writeln!(out, "{:<10}no", wall.as_str());
    line(out, "reason", &refusal.reason.to_string());
    for remedy in &refusal.remedies {
        line(out, "remedy", &remedy.to_string());
    }
}

fn rules(out: &mut String, applied: &[Applied]) {
    for one in applied {
        let about = one.manifest.as_ref().map_or_else(String::new, |manifest| format!("{manifest}: "));
        let source = if one.source.is_empty() { String::new() } else { format!(" [{}]", one.source) };
        line(out, "rule", &format!("{:<8}{:<26}{about}{}{source}", one.outcome, one.rule, one.says));
    }
}

fn line(out: &mut String, what: &str, text: &str) {
    let _ = writeln!(out, "  {what:<10}{text}");
}

fn trace(placed: &Placed) -> &[Applied] {
    match placed {
        Ok(placement) => &placement.trace,
        Err(refusal) => &refusal.trace,
    }
}

fn host_line(host: &Host) -> String {
    let name = if host.name.is_empty() { String::new() } else { format!("{}, ", host.name) };
    match &host.os {
        HostOs::Linux(linux) => {
            let kernel = linux.kernel.map_or_else(String::new, |kernel| format!(", kernel {kernel}"));
            format!("{name}{}{kernel}", host.platform())
        }
        HostOs::Windows(windows) => format!("{name}Windows {} on {}", windows.version, host.architecture),
    }
}
