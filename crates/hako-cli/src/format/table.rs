//! Tables as Go's tabwriter aligns Docker's: columns at least ten wide, three
//! blanks between them, nothing behind the last one.

/// Lines of cells.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    /// A table with a headline.
    pub(crate) fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self::default();
        table.push(head);
        table
    }
    /// Adds a line.
    pub(crate) fn push<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.lines.push(cells.into_iter().map(Into::into).collect());
    }
    /// Adds a line whose cells are parted by tabs.
    pub(crate) fn push_tabbed(&mut self, line: &str) {
        self.push(line.split('\t'));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut widths: Vec<usize> = Vec::new();
        for line in &self.lines {
            for (column, cell) in line.iter().enumerate().take(line.len().saturating_sub(1)) {
                let width = (cell.chars().count() + 3).max(10);
                match widths.get_mut(column) {
                    Some(widest) => *widest = width.max(*widest),
                    None => widths.push(width),
                }
            }
        }
        for line in &self.lines {
            for (column, cell) in line.iter().enumerate() {
                let last = column + 1 == line.len();
                let width = if last { 0 } else { widths.get(column).copied().unwrap_or(0) };
                write!(f, "{cell:<width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["ID", "LONG HEADLINE", "NAMES"]);
        table.push_tabbed("0123456789ab\tx\tname");
        assert_eq!(table.to_string(), "ID             LONG HEADLINE   NAMES\n0123456789ab   x               name\n");
    }
}
