//! The whole table: every host of `policy/platforms.toml` against every image,
//! each cell by the rules themselves.

mod svg;
mod text;

use crate::{Host, Image, ImageVersion, Manifest, OsVersion, Platform, Request, Row, place, tables};
use hako_model::Isolation;
use serde::Serialize;

/// The table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// The images.
    pub images: Vec<Heading>,
    /// The hosts, each with a cell per image.
    pub hosts: Vec<Line>,
    /// What cells and headings refer to, by number from 1.
    pub notes: Vec<String>,
}

/// The name of a row or a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heading {
    /// For commands.
    pub id: String,
    /// For readers.
    pub title: String,
    /// Its build, or its platform.
    pub version: String,
    /// The number of its note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<usize>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The host.
    #[serde(flatten)]
    pub heading: Heading,
    /// The wall of those who ask for none.
    pub default: Isolation,
    /// A cell per image.
    pub cells: Vec<Cell>,
}

/// What one host does with one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The process wall holds it.
    pub process: bool,
    /// The hyperv wall holds it.
    pub hyperv: bool,
    /// The number of its note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<usize>,
}

impl Cell {
    /// `P`, `H`, both or a dash.
    #[must_use]
    pub fn letters(self) -> &'static str {
        match (self.process, self.hyperv) {
            (true, true) => "PH",
            (true, false) => "P",
            (false, true) => "H",
            (false, false) => "–",
        }
    }
}

impl Image {
    /// A column of the matrix, by its name.
    #[must_use]
    pub fn named(id: &str) -> Option<Self> {
        tables().images.iter().find(|row| row.id.eq_ignore_ascii_case(id)).map(Self::of_row)
    }

    fn of_row(row: &Row) -> Self {
        let architecture = if row.architecture.is_empty() { "amd64" } else { &row.architecture };
        let version = match row.build {
            0 => ImageVersion::Unsaid,
            build => ImageVersion::Known(OsVersion::of_build(build)),
        };
        Self::of(Manifest { version, ..Manifest::new(Platform::new(&row.os, architecture, "")) })
    }
}

/// What `host` does with `image`, if nothing but the two matters.
#[must_use]
pub fn cell(host: &Host, image: &Image) -> Cell {
    let runs = |wall| place(image, host, &Request { isolation: Some(wall), ..Request::default() }).is_ok();
    Cell { process: runs(Isolation::Process), hyperv: runs(Isolation::Hyperv), note: None }
}

/// The table.
#[must_use]
pub fn matrix() -> Matrix {
    let tables = tables();
    let mut notes = Notes(Vec::new());
    let images: Vec<Heading> = tables.images.iter().map(|row| heading(row, &mut notes)).collect();
    let mut hosts = Vec::new();
    for row in &tables.hosts {
        let host = Host::of_row(row);
        let heading = heading(row, &mut notes);
        let cells = tables.images.iter().map(|image| {
            let disagreement = tables.disagreement(row.build, image.build).filter(|_| row.build > 0);
            let note = disagreement.and_then(|row| notes.number(&row.note));
            Cell { note, ..cell(&host, &Image::of_row(image)) }
        });
        let cells = cells.collect();
        hosts.push(Line { heading, default: host.default_wall(), cells });
    }
    Matrix { images, hosts, notes: notes.0 }
}

fn heading(row: &Row, notes: &mut Notes) -> Heading {
    let version = if row.build > 0 { row.build.to_string() } else { format!("{}/{}", row.os, row.architecture) };
    Heading { id: row.id.clone(), title: row.title.clone(), version, note: notes.number(&row.note) }
}

/// Notes, each once.
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, text: &str) -> Option<usize> {
        if text.is_empty() {
            return None;
        }
        let at = self.0.iter().position(|note| note == text).unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        Some(at + 1)
    }
}
