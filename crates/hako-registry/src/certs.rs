//! Docker's `certs.d/<host[:port]>/`: CAs that a registry's certificate may be
//! signed by beside the system's, and the certificate that we show it.
//!
//! The rules are Docker's: `*.crt` are CAs, `X.cert` is a client's certificate
//! and needs `X.key`, and all else is ignored.

use crate::{Error, Result};
use reqwest::{Certificate, Identity};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What the folders have for one registry.
#[derive(Debug, Default)]
pub(crate) struct Certs {
    cas: Vec<Vec<u8>>,
    /// A certificate and its key.
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certs {
    /// Reads `<root>/<registry>/` of every root; what is not there has nothing.
    /// They are read for each work on a registry, so that a change needs no restart.
    ///
    /// # Errors
    /// [`Error::Registry`] in Docker's words for half a pair, and for what cannot be read.
    pub(crate) fn read(roots: &[PathBuf], registry: &str) -> Result<Self> {
        let mut certs = Self::default();
        // No registry is called so; as a folder it would lead out.
        if matches!(registry, "." | "..") || registry.contains('/') {
            return Ok(certs);
        }
        for root in roots {
            certs.add(&root.join(registry))?;
        }
        Ok(certs)
    }

    fn add(&mut self, dir: &Path) -> Result<()> {
        for name in names(dir)? {
            let path = dir.join(&name);
            let Some((stem, end)) = name.rsplit_once('.') else { continue };
            match end {
                "crt" => self.cas.push(load(&path)?),
                "cert" => {
                    let key = dir.join(format!("{stem}.key"));
                    if !key.is_file() {
                        return Err(Error::Registry(format!(
                            "missing key {stem}.key for client certificate {name}. \
                             CA certificates must use the extension .crt"
                        )));
                    }
                    if self.client.is_none() {
                        self.client = Some((load(&path)?, load(&key)?));
                    }
                }
                "key" if !dir.join(format!("{stem}.cert")).is_file() => {
                    return Err(Error::Registry(format!("missing client certificate {stem}.cert for key {name}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What tells two contents apart.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let client = self.client.iter().flat_map(|(cert, key)| [cert, key]);
        for part in self.cas.iter().chain(client) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// The CAs.
    pub(crate) fn cas(&self) -> Result<Vec<Certificate>> {
        let mut all = Vec::new();
        for pem in &self.cas {
            let found = Certificate::from_pem_bundle(pem).map_err(|err| unreadable("CA certificate", &err))?;
            if found.is_empty() {
                return Err(Error::Registry("CA certificate of a registry is not PEM".into()));
            }
            all.extend(found);
        }
        Ok(all)
    }

    /// What we show.
    pub(crate) fn identity(&self) -> Result<Option<Identity>> {
        let Some((cert, key)) = &self.client else { return Ok(None) };
        let pem = [cert.as_slice(), b"\n", key].concat();
        Identity::from_pem(&pem).map(Some).map_err(|err| unreadable("client certificate", &err))
    }
}

fn unreadable(what: &str, err: &reqwest::Error) -> Error {
    Error::Registry(format!("{what} of a registry: {}", crate::error::innermost(err)))
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(vec![]),
        Err(err) => return Err(Error::Registry(format!("{}: {err}", dir.display()))),
    };
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn load(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|err| Error::Registry(format!("{}: {err}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_what_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [dir.path().to_owned(), dir.path().join("none")];
        let host = dir.path().join("reg:5000");
        fs::create_dir(&host).unwrap();
        fs::write(host.join("README"), "x").unwrap();
        let empty = Certs::read(&roots, "reg:5000").unwrap();
        assert!(empty.cas.is_empty() && empty.client.is_none());
        fs::write(host.join("ca.crt"), "x").unwrap();
        fs::write(host.join("client.cert"), "c").unwrap();
        let half = Certs::read(&roots, "reg:5000").unwrap_err().to_string();
        assert!(half.starts_with("missing key client.key for client certificate client.cert"), "{half}");
        fs::write(host.join("client.key"), "k").unwrap();
        let whole = Certs::read(&roots, "reg:5000").unwrap();
        assert!(whole.cas.len() == 1 && whole.client.is_some());
        assert_ne!(whole.fingerprint(), empty.fingerprint());
        assert!(whole.cas().is_err() && whole.identity().is_err(), "neither is PEM");
        fs::remove_file(host.join("client.cert")).unwrap();
        assert!(Certs::read(&roots, "reg:5000").is_err());
        assert!(Certs::read(&roots, "..").unwrap().cas.is_empty());
    }
}
