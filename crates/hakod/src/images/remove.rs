//! `DELETE /images/{name}`, by Docker's rules: a name goes first; the image
//! goes with its last name, or by its id where one repository alone names it.

use super::{Consumer, ImageEvent, ImageService, names};
use hako_model::{Digest, Error, Result};
use hako_store::{RefRow, Removal, Store};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// What a look at the image decided.
#[derive(Debug)]
enum Decision {
    /// Only these names go.
    Untag(Vec<String>),
    /// These names and the image.
    Delete(Vec<String>),
}

impl ImageService {
    pub(super) async fn remove_inner(&self, name: &str, force: bool) -> Result<Value> {
        // One removal at a time: each looks at what names and containers there are.
        let _alone = self.store.lock("images:remove").await;
        // A name may lead to an image for each of several platforms: all go with it.
        let mut answer = self.remove_one(name, force).await?;
        for _ in 1..answer.1 {
            let (more, _) = self.remove_one(name, force).await?;
            answer.0.extend(more.into_iter().filter(|line| line.get("Untagged").is_none()));
        }
        Ok(Value::Array(answer.0))
    }

    /// Removes one image that `name` leads to; what is to be answered, and to
    /// how many it led.
    async fn remove_one(&self, name: &str, force: bool) -> Result<(Vec<Value>, usize)> {
        let found = self.find(name).await?;
        let images = match found.reference.as_ref().map(hako_model::Reference::key) {
            Some(key) => self.blocking(move |store| Ok(store.references_named(&key)?.len())).await?,
            None => 1,
        };
        let id = found.image.id.clone();
        let rows = {
            let id = id.clone();
            self.blocking(move |store| Ok(store.references(Some(&id))?)).await?
        };
        let users = self.users(&id);
        let stored = found.reference.as_ref().map(hako_model::Reference::key);
        let decision = match stored.filter(|key| rows.iter().any(|row| row.name == *key)) {
            Some(key) => by_reference(name, &key, &id, &rows, &users, force)?,
            None => by_id(&id, &rows, &users, force)?,
        };
        Ok((self.carry_out(&id, decision, force).await?, images))
    }

    /// Removes one image with all its names, these, unless a container uses it.
    pub(super) async fn remove_whole(&self, id: &Digest, names: Vec<String>) -> Result<Vec<Value>> {
        let _alone = self.store.lock("images:remove").await;
        check_users(id, &self.users(id), false)?;
        self.carry_out(id, Decision::Delete(names), false).await
    }

    /// Does what was decided; what is to be answered.
    async fn carry_out(&self, id: &Digest, decision: Decision, force: bool) -> Result<Vec<Value>> {
        let (names, removal) = {
            let id = id.clone();
            self.blocking(move |store| decision.carry_out(store, &id, force)).await?
        };
        if let Some(Removal::InUse(user)) = &removal {
            // It was made since the look.
            check_users(id, &[Consumer { id: user.clone(), running: false }], force)?;
        }
        let mut answer: Vec<Value> = names.iter().map(|name| json!({ "Untagged": names::familiar(name) })).collect();
        for _ in &names {
            self.tell_of("untag", id);
        }
        let gone = match removal {
            Some(Removal::Gone(gone)) => gone,
            Some(Removal::Hidden) => Vec::new(),
            // By a name that came after the look it stays.
            None | Some(Removal::Named | Removal::InUse(_)) => return Ok(answer),
        };
        answer.push(json!({ "Deleted": id }));
        answer.extend(gone.iter().map(|chain| json!({ "Deleted": chain })));
        self.tell_of("delete", id);
        Ok(answer)
    }

    pub(super) async fn container_removed_inner(&self, id: &Digest) -> Result<()> {
        let _alone = self.store.lock("images:remove").await;
        if !self.users(id).is_empty() {
            return Ok(());
        }
        let id = id.clone();
        self.blocking(move |store| {
            if store.image(&id)?.is_some_and(|image| image.hidden) {
                // Unless a name or a container came back to it just now.
                store.remove_image(&id, &[], false)?;
            }
            Ok(())
        })
        .await
    }

    fn tell_of(&self, action: &'static str, id: &Digest) {
        let attributes = HashMap::from([("name".to_owned(), id.to_string())]);
        self.tell(ImageEvent { action, id: id.to_string(), attributes });
    }
}

impl Decision {
    /// The names that go, and what became of the image if it is to go too.
    fn carry_out(self, store: &Store, id: &Digest, force: bool) -> Result<(Vec<String>, Option<Removal>)> {
        match self {
            Self::Untag(names) => {
                store.delete_refs_of(id, &names)?;
                Ok((names, None))
            }
            Self::Delete(names) => {
                let removal = store.remove_image(id, &names, force)?;
                Ok((names, Some(removal)))
            }
        }
    }
}

fn by_reference(
    typed: &str,
    key: &str,
    id: &Digest,
    rows: &[RefRow],
    users: &[Consumer],
    force: bool,
) -> Result<Decision> {
    if !force
        && single(rows)
        && let Some(user) = users.first()
    {
        return Err(Error::conflict(format!(
            "conflict: unable to remove repository reference \"{typed}\" (must force) - \
             container {} is using its referenced image {}",
            short(&user.id),
            id.short()
        )));
    }
    let (repository, is_digest) = names::split(key);
    let mut gone = vec![key.to_owned()];
    let left: Vec<&RefRow> = rows.iter().filter(|row| row.name != key).collect();
    let of_same = |row: &&&RefRow| names::split(&row.name).0 == repository;
    let tags_left = left.iter().filter(of_same).any(|row| !names::split(&row.name).1);
    if !is_digest && !tags_left {
        // Digests that only the tag had brought.
        gone.extend(left.iter().filter(of_same).map(|row| row.name.clone()));
    }
    if gone.len() < rows.len() {
        return Ok(Decision::Untag(gone));
    }
    check_users(id, users, force)?;
    Ok(Decision::Delete(gone))
}

fn by_id(id: &Digest, rows: &[RefRow], users: &[Consumer], force: bool) -> Result<Decision> {
    check_users(id, users, force)?;
    if !force && rows.len() > 1 && !single(rows) {
        return Err(Error::conflict(format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            id.short()
        )));
    }
    Ok(Decision::Delete(rows.iter().map(|row| row.name.clone()).collect()))
}

fn check_users(id: &Digest, users: &[Consumer], force: bool) -> Result<()> {
    let image = id.short();
    if let Some(user) = users.iter().find(|user| user.running) {
        return Err(Error::conflict(format!(
            "conflict: unable to delete {image} (cannot be forced) - image is being used by running container {}",
            short(&user.id)
        )));
    }
    match users.first() {
        Some(user) if !force => Err(Error::conflict(format!(
            "conflict: unable to delete {image} (must be forced) - image is being used by stopped container {}",
            short(&user.id)
        ))),
        _ => Ok(()),
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Whether the names are one tag at most, with digests of its own repository alone.
fn single(rows: &[RefRow]) -> bool {
    let parts: Vec<(&str, bool)> = rows.iter().map(|row| names::split(&row.name)).collect();
    let tags: Vec<&str> = parts.iter().filter(|(_, digest)| !digest).map(|(name, _)| *name).collect();
    let digests: HashSet<&str> = parts.iter().filter(|(_, digest)| *digest).map(|(name, _)| *name).collect();
    match (tags.as_slice(), digests.len()) {
        ([], 1) | ([_], 0) => true,
        ([tag], 1) => digests.contains(tag),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(names: &[&str]) -> Vec<RefRow> {
        let image = super::super::document::digest_of(b"x");
        names
            .iter()
            .map(|name| RefRow { name: (*name).to_owned(), image: image.clone(), target: None, manifest: None })
            .collect()
    }

    #[test]
    fn which_names_are_one() {
        assert!(single(&rows(&["a:1"])) && single(&rows(&["a:1", "a@sha256:0"])));
        assert!(!single(&rows(&["a:1", "a:2"])) && !single(&rows(&["a:1", "b@sha256:0"])) && !single(&rows(&[])));
    }

    #[test]
    fn a_container_keeps_its_image() {
        let id = super::super::document::digest_of(b"x");
        let user = |running| [Consumer { id: "c".repeat(64), running }];
        let named = rows(&["a:1"]);
        assert!(by_reference("a:1", "a:1", &id, &named, &user(false), false).is_err());
        assert!(by_reference("a:1", "a:1", &id, &named, &user(true), true).is_err());
        assert!(matches!(by_reference("a:1", "a:1", &id, &named, &user(false), true), Ok(Decision::Delete(_))));
        let two = rows(&["a:1", "b:1"]);
        assert!(matches!(by_reference("a:1", "a:1", &id, &two, &user(true), false), Ok(Decision::Untag(_))));
        assert!(by_id(&id, &two, &[], false).unwrap_err().message.contains("multiple repositories"));
        assert!(matches!(by_id(&id, &two, &[], true), Ok(Decision::Delete(names)) if names.len() == 2));
        let brought = rows(&["a:1", "a@sha256:0"]);
        assert!(
            matches!(by_reference("a:1", "a:1", &id, &brought, &[], false), Ok(Decision::Delete(n)) if n.len() == 2)
        );
    }
}
