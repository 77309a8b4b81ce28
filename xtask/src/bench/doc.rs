//! The generated parts of `docs/performance.md`: each stands between two
//! comments, and the text around them is written by hand.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Puts each body into the part of its name.
pub fn write(file: &Path, parts: &[(&str, String)]) -> Result<()> {
    let mut text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    for (part, body) in parts {
        text = replaced(&text, part, body).with_context(|| format!("in {}", file.display()))?;
    }
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn replaced(text: &str, part: &str, body: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- bench: {part} -->\n"), "<!-- bench: end -->");
    let from = text.find(&begin).with_context(|| format!("no line {:?}", begin.trim()))? + begin.len();
    let rest = &text[from..];
    let to = from + rest.find(end).with_context(|| format!("no line {end:?} after {:?}", begin.trim()))?;
    Ok(format!("{}\n{}\n\n{}", &text[..from], body.trim(), &text[to..]))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn what_is_between_is_replaced() {
        let text = "head\n<!-- bench: a -->\nold\n<!-- bench: end -->\nmore\n<!-- bench: b -->\n<!-- bench: end -->\n";
        let once = replaced(text, "a", "new\n").unwrap();
        assert_eq!(once, text.replace("old\n", "\nnew\n\n"));
        assert_eq!(replaced(&once, "a", "new").unwrap(), once);
        let other = replaced(text, "b", "x").unwrap();
        assert!(other.contains("old") && other.contains("<!-- bench: b -->\n\nx\n"), "{other}");
        assert!(replaced(text, "c", "x").is_err());
    }
}
