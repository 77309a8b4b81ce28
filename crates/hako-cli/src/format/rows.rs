//! Listings: a row of fields per thing, as a table, a template, JSON, or ids alone.

use super::{Table, Template, unescape};
use crate::error::Result;
use crate::term::print;
use serde_json::{Map, Value};

/// One column that a listing knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// Its name in templates.
    pub(crate) field: &'static str,
    /// Its headline in tables.
    pub(crate) head: &'static str,
}

/// One thing: its fields by name.
pub(crate) type Row = Map<String, Value>;

/// How a listing is shown.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    /// Every column that templates may name.
    pub(crate) columns: &'a [Column],
    /// The columns of the table that is shown without `--format`.
    pub(crate) default: &'a [&'a str],
    /// `--format`.
    pub(crate) format: Option<&'a str>,
    /// `-q`: only this field.
    pub(crate) quiet: Option<&'a str>,
}

impl Listing<'_> {
    /// Writes `rows` to stdout.
    pub(crate) fn show(&self, rows: &[Row]) -> Result<()> {
        print(&self.text(rows)?)
    }

    fn text(&self, rows: &[Row]) -> Result<String> {
        let format = self.format.map(str::trim).filter(|format| !format.is_empty());
        match (self.quiet, format) {
            (Some(field), None | Some("table" | "json")) => {
                Ok(rows.iter().map(|row| cell(row, field) + "\n").collect())
            }
            (_, None | Some("table")) => Ok(self.default_table(rows)),
            (_, Some("json")) => Self::templated("{{json .}}", rows),
            (_, Some(format)) => match format.strip_prefix("table ") {
                Some(template) => self.template_table(template, rows),
                None => Self::templated(format, rows),
            },
        }
    }

    fn head(&self, field: &str) -> &'static str {
        self.columns.iter().find(|column| column.field == field).map_or("", |column| column.head)
    }

    fn default_table(&self, rows: &[Row]) -> String {
        let mut table = Table::new(self.default.iter().map(|field| self.head(field)));
        for row in rows {
            table.push(self.default.iter().map(|field| cell(row, field)));
        }
        table.to_string()
    }

    fn template_table(&self, template: &str, rows: &[Row]) -> Result<String> {
        let template = unescape(template.trim_start());
        let heads: Row = self.columns.iter().map(|c| (c.field.to_owned(), c.head.into())).collect();
        let mut table = Table::default();
        // A headline names columns: what a template does to a field is left out.
        table.push_tabbed(&Template::parse(&headline(&template))?.render(&Value::Object(heads))?);
        let parsed = Template::parse(&template)?;
        for row in rows {
            table.push_tabbed(&parsed.render(&Value::Object(row.clone()))?);
        }
        Ok(table.to_string())
    }

    fn templated(template: &str, rows: &[Row]) -> Result<String> {
        let template = Template::parse(template)?;
        rows.iter()
            .map(|row| {
                let mut row = row.clone();
                if template.is_json() {
                    row.retain(|key, _| !key.starts_with('\0'));
                    row.sort_keys();
                }
                Ok(template.render(&Value::Object(row))? + "\n")
            })
            .collect()
    }
}

/// Docker's headlines skip the functions that only change values.
fn headline(template: &str) -> String {
    ["json ", "title ", "lower ", "upper "]
        .iter()
        .fold(template.to_owned(), |text, name| text.replace(&format!("{{{{{name}"), "{{"))
}

fn cell(row: &Row, field: &str) -> String {
    match row.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] =
        &[Column { field: "ID", head: "CONTAINER ID" }, Column { field: "Names", head: "NAMES" }];

    fn show(format: Option<&str>, quiet: Option<&str>) -> String {
        let row: Row =
            [("Names", "n1"), ("ID", "0123456789ab")].iter().map(|&(k, v)| (k.to_owned(), v.into())).collect();
        let listing = Listing { columns: COLUMNS, default: &["ID", "Names"], format, quiet };
        listing.text(&[row]).unwrap_or_else(|err| err.to_string())
    }

    #[test]
    fn every_form() {
        assert_eq!(show(None, None), "CONTAINER ID   NAMES\n0123456789ab   n1\n");
        assert_eq!(show(None, Some("ID")), "0123456789ab\n");
        assert_eq!(show(Some("{{.Names}}"), None), "n1\n");
        assert_eq!(show(Some("json"), None), "{\"ID\":\"0123456789ab\",\"Names\":\"n1\"}\n");
        assert_eq!(show(Some(r"table {{.Names}}\t{{.ID}}"), None), "NAMES     CONTAINER ID\nn1        0123456789ab\n");
    }
}
