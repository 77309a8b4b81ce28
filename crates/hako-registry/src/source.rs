//! One place that has a repository: the registry itself or a mirror of it.
//! Finds the address that answers, and lets itself in.

use crate::{
    Credentials, Error, Result,
    auth::{Challenge, Entry},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use std::{
    collections::HashMap,
    sync::{
        Mutex as Lock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Mutex, OnceCell};

/// One place.
#[derive(Debug)]
pub(crate) struct Source {
    http: reqwest::Client,
    /// Addresses to try, each ends with `/v2/`.
    bases: Vec<Url>,
    credentials: Option<Credentials>,
    base: OnceCell<Url>,
    /// What the last refusal asked for.
    challenge: Lock<Option<Challenge>>,
    /// What let us in, by the scopes for which it was asked.
    entries: Mutex<HashMap<String, Entry>>,
    dead: AtomicBool,
}

/// What a request is to be allowed to do: `repository:NAME:ACTIONS`.
#[derive(Debug, Clone)]
pub(crate) struct Access(Vec<String>);

impl Access {
    /// To one repository.
    pub(crate) fn to(path: &str, actions: &str) -> Self {
        Self(vec![format!("repository:{path}:{actions}")])
    }

    /// And reading of another one.
    pub(crate) fn and_from(&self, path: &str) -> Self {
        Self(self.0.iter().cloned().chain([format!("repository:{path}:pull")]).collect())
    }
}

impl Source {
    pub(crate) fn new(http: reqwest::Client, bases: Vec<Url>, credentials: Option<Credentials>) -> Self {
        Self {
            http,
            bases,
            credentials,
            base: OnceCell::new(),
            challenge: Lock::default(),
            entries: Mutex::default(),
            dead: AtomicBool::new(false),
        }
    }

    /// Whether somebody's credentials are used here.
    pub(crate) fn is_somebody(&self) -> bool {
        self.credentials.is_some()
    }

    /// Whether it gave no answer before.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Not to be asked again.
    pub(crate) fn give_up(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// The address that answers, which ends with `/v2/`.
    pub(crate) async fn base(&self) -> Result<&Url> {
        self.base.get_or_try_init(|| self.ping()).await
    }

    async fn ping(&self) -> Result<Url> {
        let mut last = None;
        for base in &self.bases {
            match self.http.get(base.clone()).send().await {
                Ok(response) => {
                    self.learn(base, &response)?;
                    return Ok(base.clone());
                }
                Err(err) => last = Some(Error::transport("Get", base, &err)),
            }
        }
        Err(last.unwrap_or_else(|| Error::Registry("registry has no address".into())))
    }

    /// Notes what a refusal asks for; whether there is a way in.
    fn learn(&self, base: &Url, response: &Response) -> Result<bool> {
        let asked = Challenge::of(response, base)?;
        let mut challenge = self.challenge.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = asked {
            *challenge = Some(asked);
        }
        Ok(challenge.is_some())
    }

    /// Sends a request, and again with fresh authorization where it is asked
    /// for; `edit` makes headers and body each time. Only the registry's own
    /// host is told who we are: a place to upload to may be elsewhere.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Url,
        access: &Access,
        edit: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let base = self.base().await?;
        let own = base.origin() == url.origin();
        let mut fresh = false;
        loop {
            let mut request = edit(self.http.request(method.clone(), url.clone()));
            if own && let Some(value) = self.authorize(access, fresh).await? {
                request = request.header(header::AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(|err| Error::transport(verb(&method), &url, &err))?;
            // A token may have run out on the way, or only this request needs one.
            if own && !fresh && response.status() == StatusCode::UNAUTHORIZED && self.learn(base, &response)? {
                fresh = true;
                continue;
            }
            return Ok(response);
        }
    }

    async fn authorize(&self, access: &Access, fresh: bool) -> Result<Option<String>> {
        let challenge = self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(challenge) = challenge else { return Ok(None) };
        let key = access.0.join(" ");
        let mut entries = self.entries.lock().await;
        if let Some(entry) = entries.get(&key).filter(|entry| entry.is_fresh() && !fresh) {
            return Ok(Some(entry.authorization.clone()));
        }
        let entry = challenge.answer(&self.http, self.credentials.as_ref(), &access.0).await?;
        let authorization = entry.authorization.clone();
        entries.insert(key, entry);
        Ok(Some(authorization))
    }
}

/// A method as Go's clients write it in their errors.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::HEAD => "Head",
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::DELETE => "Delete",
        _ => "Get",
    }
}
