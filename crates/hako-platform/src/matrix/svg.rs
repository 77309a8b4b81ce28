//! The table as a picture.

use super::{Cell, Matrix, text::mark};
use std::fmt::Write;

const CELL: usize = 62;
const ROW: usize = 26;
const LEFT: usize = 260;
const TOP: usize = 70;
const NOTE: usize = 20;
/// Characters that a line of a note has room for, by the picture's width.
const NOTE_WIDTH: usize = 7;

/// Each answer's colour, told apart in grey too, and the letters stand in it.
fn colour(cell: Cell) -> &'static str {
    match (cell.process, cell.hyperv) {
        (true, true) => "#2e7d32",
        (true, false) => "#9ccc65",
        (false, true) => "#1565c0",
        (false, false) => "#eceff1",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Matrix {
    /// An SVG document.
    #[must_use]
    pub fn svg(&self) -> String {
        let width = LEFT + self.images.len() * CELL + 20;
        let notes: Vec<String> =
            self.notes.iter().enumerate().flat_map(|(at, note)| wrapped(at, note, width)).collect();
        let below = TOP + self.hosts.len() * ROW + 20;
        let height = below + (notes.len() + 1) * NOTE + 10;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <title>Which image runs on which host, behind which wall</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"10\" y=\"24\" font-size=\"16\" font-weight=\"bold\">Image on host: P behind process, H behind hyperv</text>\n"
        );
        for (column, image) in self.images.iter().enumerate() {
            let x = LEFT + column * CELL + CELL / 2;
            label(&mut out, x, TOP - 24, "middle", &format!("{}{}", image.title, mark(image.note)));
            if image.version.parse::<u32>().is_ok() {
                label(&mut out, x, TOP - 8, "middle", &image.version);
            }
        }
        for (row, line) in self.hosts.iter().enumerate() {
            let y = TOP + row * ROW;
            let host = &line.heading;
            label(&mut out, 10, y + 17, "start", &format!("{}{} ({})", host.title, mark(host.note), host.version));
            for (column, cell) in line.cells.iter().enumerate() {
                self.cell(&mut out, (row, column), *cell);
            }
        }
        label(&mut out, 10, below, "start", "–: runs behind neither wall");
        for (at, note) in notes.iter().enumerate() {
            label(&mut out, 10, below + (at + 1) * NOTE, "start", note);
        }
        out.push_str("</svg>\n");
        out
    }

    fn cell(&self, out: &mut String, (row, column): (usize, usize), cell: Cell) {
        let (x, y) = (LEFT + column * CELL, TOP + row * ROW);
        let ink = if cell.hyperv { "#ffffff" } else { "#263238" };
        let (host, image) = (&self.hosts[row].heading.title, &self.images[column].title);
        let _ = writeln!(
            out,
            "<g><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\">{}{}</text></g>",
            escaped(&format!("image {image} on {host}: {}", cell.letters())),
            x + 1,
            y + 1,
            CELL - 2,
            ROW - 2,
            colour(cell),
            x + CELL / 2,
            y + 17,
            cell.letters(),
            mark(cell.note)
        );
    }
}

fn label(out: &mut String, x: usize, y: usize, anchor: &str, text: &str) {
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>", escaped(text));
}

/// SVG breaks no lines.
fn wrapped(at: usize, note: &str, width: usize) -> Vec<String> {
    let mut lines = vec![mark(Some(at + 1))];
    for word in note.split(' ') {
        match lines.last_mut() {
            Some(line) if (line.chars().count() + word.chars().count()) * NOTE_WIDTH < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines
}
