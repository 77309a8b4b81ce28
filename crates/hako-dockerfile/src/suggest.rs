//! What a mistyped word may have meant, as Docker's texts tell it.

/// ` (did you mean WORD?)` for the option that is less than three edits away, or nothing.
pub(crate) fn hint<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> String {
    // The longest option has eleven letters: what is much longer is none of them.
    if word.len() > 32 {
        return String::new();
    }
    let lower = word.to_lowercase();
    let near = options.into_iter().map(|option| (distance(&lower, &option.to_lowercase()), option));
    // Of several that are as near, the first.
    match near.filter(|(edits, _)| (1..3).contains(edits)).min_by_key(|(edits, _)| *edits) {
        None => String::new(),
        Some((_, option)) if word == lower => format!(" (did you mean {}?)", option.to_lowercase()),
        Some((_, option)) if word == word.to_uppercase() => format!(" (did you mean {}?)", option.to_uppercase()),
        Some((_, option)) => format!(" (did you mean {}?)", option.to_lowercase()),
    }
}

/// Levenshtein's distance: insertions, removals and changes of a letter.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.chars().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, edits) in [("", "abc", 3), ("run", "run", 0), ("rnu", "run", 2), ("copi", "copy", 1), ("ab", "b", 1)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn hints_in_the_words_case() {
        let options = ["COPY", "RUN"];
        assert_eq!(hint("COPPY", options), " (did you mean COPY?)");
        assert_eq!(hint("rum", options), " (did you mean run?)");
        assert_eq!(hint("nothing", options), "");
        assert_eq!(hint(&"x".repeat(100_000), options), "");
    }
}
