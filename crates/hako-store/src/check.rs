//! Whether the store is what its rows say: for a data root that no engine has
//! open. Nothing is changed here; what a crash left is removed by the next
//! [`Store::open`].

use crate::{Error, Result, Store, db, files, gc::EMPTY_CHAIN, lock, volumes};
use hako_model::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// What an interrupted engine left: the next one removes it.
    Leftover(String),
    /// Content that is missing, or is not what its row says.
    Damage(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leftover(what) => write!(f, "left over: {what}"),
            Self::Damage(what) => write!(f, "damage: {what}"),
        }
    }
}

/// The magic number of EROFS, little-endian, and where it lies.
const EROFS_MAGIC: [u8; 4] = [0xe2, 0xe1, 0xf5, 0xe0];
const EROFS_AT: u64 = 1024;

impl Store {
    /// Opens a store to look at it: nothing is repaired or removed.
    ///
    /// # Errors
    /// [`Error::InUse`] while an engine has it open; [`Error::NoStore`] where
    /// there is none; [`Error::Format`] for one of another version of Hako;
    /// I/O and database errors.
    pub fn open_to_check(data_root: impl AsRef<Path>) -> Result<Self> {
        let root = data_root.as_ref();
        let root = root.canonicalize().map_err(Error::io(root))?;
        for missing in [db::FILE, files::LOCK] {
            if !root.join(missing).is_file() {
                return Err(Error::NoStore { root, missing });
            }
        }
        let held = files::lock_old_root(&root)?;
        let db = db::open_to_check(&root.join(db::FILE))?;
        Ok(Self(Arc::new(crate::Inner {
            root,
            db: Mutex::new(db),
            keys: Arc::default(),
            leases: Arc::<lock::Leases>::default(),
            next_layer: AtomicU64::new(u64::MAX),
            _lock: held,
        })))
    }

    /// Holds every row against the files and every file against the rows;
    /// reads all content for its digest.
    ///
    /// # Errors
    /// I/O and database errors other than what is looked for.
    pub fn check(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        self.check_database(&mut findings)?;
        self.check_images(&mut findings)?;
        self.check_layers(&mut findings)?;
        self.check_blobs(&mut findings)?;
        self.check_erofs(&mut findings)?;
        self.check_folders(&mut findings)?;
        self.check_volumes(&mut findings)?;
        Ok(findings)
    }

    fn check_database(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let db = self.db();
        let said: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if said != "ok" {
            findings.push(Finding::Damage(format!("database: {said}")));
        }
        let mut stmt = db.prepare("PRAGMA foreign_key_check")?;
        let mut rows = stmt.query([])?;
        while let Some(row) = rows.next()? {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            findings.push(Finding::Damage(format!("database: a row of {table} names no row of {parent}")));
        }
        Ok(())
    }

    /// Each image's layers must be one on top of the other, without a gap.
    fn check_images(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let db = self.db();
        let mut stmt = db.prepare(
            "SELECT i.image, i.position, i.chain, l.parent FROM image_layers i LEFT JOIN layers l USING (chain)
             ORDER BY i.image, i.position",
        )?;
        let mut rows = stmt.query([])?;
        let mut below: Option<(String, i64, String)> = None;
        while let Some(row) = rows.next()? {
            let (image, position, chain): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let parent: Option<String> = row.get(3)?;
            let last = below.take().filter(|(of, ..)| *of == image);
            let right = match &last {
                None => position == 0 && parent.is_none(),
                Some((_, at, under)) => position == at + 1 && parent.as_ref() == Some(under),
            };
            if !right {
                findings.push(Finding::Damage(format!("image {image}: layer {chain} is not on top of the one below")));
            }
            below = Some((image, position, chain));
        }
        Ok(())
    }

    fn check_layers(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let used = self.texts("SELECT chain FROM image_layers")?;
        let mut known = HashSet::new();
        for (n, parent, layer) in self.layer_rows()? {
            known.insert(n.to_string());
            let chain = &layer.chain;
            let expected = match parent {
                None => layer.diff.to_string(),
                Some(parent) => hex_of(format!("{parent} {}", layer.diff).as_bytes()),
            };
            if expected != chain.as_str() {
                findings.push(Finding::Damage(format!("layer {chain}: its layers give {expected}")));
            }
            if !layer.dir.is_dir() {
                findings.push(Finding::Damage(format!("layer {chain}: {} is missing", layer.dir.display())));
            }
            if !used.contains(chain.as_str()) {
                findings.push(Finding::Leftover(format!("layer {chain}: no image has it")));
            }
        }
        for name in files::names(&self.root().join("layers"))? {
            if !known.contains(&name) {
                findings.push(Finding::Leftover(format!("layers/{name}: no layer is there")));
            }
        }
        Ok(())
    }

    fn check_blobs(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let mut wanted: BTreeMap<String, &str> = BTreeMap::new();
        for (sql, what) in [
            ("SELECT id FROM images", "config"),
            ("SELECT digest FROM image_blobs", "kept content"),
            ("SELECT blob FROM layers WHERE blob IS NOT NULL", "archive of a layer"),
        ] {
            wanted.extend(self.texts(sql)?.into_iter().map(|digest| (digest, what)));
        }
        let dir = self.root().join("blobs/sha256");
        for name in files::names(&dir)? {
            let digest = format!("sha256:{name}");
            let Some(what) = wanted.remove(&digest) else {
                findings.push(Finding::Leftover(format!("blobs/sha256/{name}: nothing names it")));
                continue;
            };
            let actual = digest_of_file(&dir.join(&name))?;
            if actual != digest {
                findings.push(Finding::Damage(format!("blobs/sha256/{name} ({what}) has the digest {actual}")));
            }
        }
        findings.extend(wanted.iter().map(|(digest, what)| Finding::Damage(format!("{what} {digest} is missing"))));
        Ok(())
    }

    fn check_erofs(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let tops = self.top_chains()?;
        let dir = self.root().join("erofs");
        for name in files::names(&dir)? {
            let chain = format!("sha256:{}", name.trim_end_matches(".erofs"));
            if !tops.contains(&chain) && chain != EMPTY_CHAIN {
                findings.push(Finding::Leftover(format!("erofs/{name}: no image has these layers")));
            } else if !is_erofs(&dir.join(&name)) {
                findings.push(Finding::Damage(format!("erofs/{name} is no EROFS image")));
            }
        }
        Ok(())
    }

    fn check_volumes(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let known = self.texts("SELECT name FROM volumes")?;
        for name in self.texts(
            "SELECT name FROM volumes WHERE gone = 1
             OR (maker IS NOT NULL AND maker NOT IN (SELECT id FROM containers))",
        )? {
            findings.push(Finding::Leftover(format!("volume {name}: it was being made or removed")));
        }
        for name in self.texts("SELECT name FROM volumes WHERE gone = 0")? {
            let data = self.volume_data(&name);
            if !data.is_dir() {
                findings.push(Finding::Damage(format!("volume {name}: {} is missing", data.display())));
            }
        }
        for name in files::names(&self.root().join(volumes::DIR))? {
            if !known.contains(&name) {
                let what = format!("{}/{name}: there is no such volume", volumes::DIR);
                let is_empty = volumes::is_empty(&self.volume_data(&name));
                findings.push(if is_empty { Finding::Leftover(what) } else { Finding::Damage(what) });
            }
        }
        Ok(())
    }

    fn check_folders(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let containers = self.texts("SELECT id FROM containers")?;
        for name in files::names(&self.root().join("containers"))? {
            if !containers.contains(&name) {
                findings.push(Finding::Leftover(format!("containers/{name}: there is no such container")));
            }
        }
        for name in files::names(&self.root().join("tmp"))? {
            findings.push(Finding::Leftover(format!("tmp/{name}")));
        }
        Ok(())
    }
}

/// A file that cannot be read to its end is none that could be used.
fn is_erofs(path: &Path) -> bool {
    let magic = || -> io::Result<[u8; 4]> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(EROFS_AT))?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic)?;
        Ok(magic)
    };
    magic().is_ok_and(|magic| magic == EROFS_MAGIC)
}

fn hex_of(bytes: &[u8]) -> String {
    Digest::from_sha256(<[u8; 32]>::from(Sha256::digest(bytes))).to_string()
}

fn digest_of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = file.read(&mut buffer).map_err(Error::io(path))?;
        if n == 0 {
            return Ok(Digest::from_sha256(<[u8; 32]>::from(hash.finalize())).to_string());
        }
        hash.update(&buffer[..n]);
    }
}
