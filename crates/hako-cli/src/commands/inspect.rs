//! `hako inspect`.

use crate::api::{Client, Query, escape};
use crate::error::{Error, Result};
use crate::format::Template;
use crate::term::{print, print_line};
use clap::Args;
use serde_json::Value;

/// Show all details of containers, images, networks and volumes as JSON
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Format output: json, or a Go template
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short = 's', long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "TYPE", value_parser = ["container", "image", "network", "volume"])]
    kind: Option<String>,
    /// Names or IDs of containers, images, networks and volumes
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

impl Inspect {
    /// Of objects of one kind.
    pub(super) fn of(kind: &str, format: Option<String>, names: Vec<String>) -> Self {
        Self { format, size: false, kind: Some(kind.to_owned()), names }
    }

    pub(crate) async fn run(self, client: &Client) -> Result<()> {
        let format = self.format.as_deref().filter(|format| !format.is_empty());
        let template = format.filter(|format| *format != "json").map(Template::parse).transpose()?;
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &self.names {
            match self.look_up(client, name).await {
                Ok(value) => found.push(value),
                Err(err) => failures.push(err),
            }
        }
        match &template {
            Some(template) => {
                for value in &found {
                    print_line(template.render(value)?)?;
                }
            }
            None if format.is_some() => print_line(Value::Array(found))?,
            None => print(&pretty(&Value::Array(found)))?,
        }
        for failure in &failures {
            eprintln!("hako: {failure}");
        }
        if failures.is_empty() { Ok(()) } else { Err(Error::exit(1)) }
    }

    async fn look_up(&self, client: &Client, name: &str) -> Result<Value> {
        let container = Query::default().flag("size", self.size).on(format!("/containers/{}/json", escape(name)));
        let image = format!("/images/{}/json", escape(name));
        let volume = format!("/volumes/{}", escape(name));
        let network = format!("/networks/{}", escape(name));
        match self.kind.as_deref() {
            Some("container") => return client.get(&container).await,
            Some("network") => return client.get(&network).await,
            Some("volume") => return client.get(&volume).await,
            Some(_) => return client.get(&image).await,
            None => {}
        }
        match client.get(&container).await {
            Err(err) if err.is_not_found() => {}
            other => return other,
        }
        match client.get(&image).await {
            Err(err) if err.is_not_found() => {}
            other => return other,
        }
        match client.get(&network).await {
            Err(err) if err.is_not_found() => {}
            other => return other,
        }
        client
            .get(&volume)
            .await
            .map_err(|err| if err.is_not_found() { Error::msg(format!("no such object: {name}")) } else { err })
    }
}

/// JSON as Docker indents it: four blanks.
pub(super) fn pretty(value: &Value) -> String {
    use serde_json::ser::{PrettyFormatter, Serializer};
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
    // Writing a value to memory cannot fail.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}
