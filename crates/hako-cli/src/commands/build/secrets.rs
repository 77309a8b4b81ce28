//! `--secret`: values for `RUN --mount=type=secret`. They go to the engine in a
//! header of their own, are never printed, and stand in no query and no log.

use crate::error::{Error, Result, reason};
use crate::flags::csv;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::os::unix::ffi::OsStringExt;

/// All secrets together, encoded: what the engine takes in a header.
const MAX: usize = 48 << 10;

/// The header's value: base64 of a JSON object of base64 texts by id.
pub(super) fn header(specs: &[String]) -> Result<Option<String>> {
    if specs.is_empty() {
        return Ok(None);
    }
    let mut all = Map::new();
    for spec in specs {
        let (id, value) = secret(spec)?;
        all.insert(id, STANDARD.encode(value).into());
    }
    let header = STANDARD.encode(Value::Object(all).to_string());
    if header.len() > MAX {
        let text = format!("the secrets of a build have {} bytes, encoded: more than {MAX}", header.len());
        return Err(Error::msg(text));
    }
    Ok(Some(header))
}

/// `id=NAME[,type=file|env][,src=PATH][,env=VARIABLE]`. Without a source it is the
/// variable of that name if there is one, else the file.
fn secret(spec: &str) -> Result<(String, Vec<u8>)> {
    let (mut id, mut file, mut variable, mut of_env) = (None, None, None, false);
    for field in csv(spec) {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| Error::msg(format!("invalid field '{field}' must be a key=value pair")))?;
        let value = value.to_owned();
        match key.to_ascii_lowercase().as_str() {
            "id" => id = Some(value),
            "source" | "src" => file = Some(value),
            "env" => variable = Some(value),
            "type" if value == "file" => of_env = false,
            "type" if value == "env" => of_env = true,
            "type" => return Err(Error::msg(format!("unsupported secret type {value:?}"))),
            key => return Err(Error::msg(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| Error::msg("secret missing ID"))?;
    if of_env && variable.is_none() {
        variable = file.take();
    }
    if variable.is_none() && file.is_none() {
        if std::env::var_os(&id).is_some() {
            variable = Some(id.clone());
        } else {
            file = Some(id.clone());
        }
    }
    let value = match (variable, file) {
        (Some(variable), _) => std::env::var_os(&variable).unwrap_or_default().into_vec(),
        (None, file) => {
            let file = file.unwrap_or_default();
            std::fs::read(&file).map_err(|err| Error::msg(format!("failed to stat {file}: {}", reason(&err))))?
        }
    };
    Ok((id, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        let file = std::env::temp_dir().join(format!("hako-cli-secret-{}", std::process::id()));
        std::fs::write(&file, vec![b'x'; 40 << 10]).unwrap();
        assert!(header(&[format!("id=a,src={}", file.display())]).is_err());
        std::fs::write(&file, vec![b'x'; 20 << 10]).unwrap();
        assert!(header(&[format!("id=a,src={}", file.display())]).unwrap().is_some());
        std::fs::write(&file, "hush").unwrap();
        let path = file.display();
        let (id, value) = secret(&format!("id=a,src={path}")).unwrap();
        assert_eq!((id.as_str(), value.as_slice()), ("a", &b"hush"[..]));
        assert_eq!(secret(&format!("type=file,id={path}")).unwrap().1, b"hush");
        let home = std::env::var_os("PATH").unwrap_or_default().into_vec();
        assert_eq!(secret("id=a,env=PATH").unwrap().1, home);
        assert_eq!(secret("id=a,type=env,src=PATH").unwrap().1, home);
        assert_eq!(secret("id=PATH").unwrap().1, home);
        let _ = std::fs::remove_file(&file);
        for wrong in ["src=/x", "id=", "id", "id=a,type=x", "id=a,nonsense=1", "id=a,src=/no/such/file"] {
            assert!(secret(wrong).is_err(), "{wrong}");
        }
        assert!(header(&[]).unwrap().is_none());
    }
}
