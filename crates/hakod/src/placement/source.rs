//! What a build's step is made of: rules about images are about these, and not
//! about the image of the step before, which has no name yet.

use crate::images::Candidate;
use hako_platform::Image;

/// An image that a stage has begun with or has taken files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    names: Vec<String>,
    digests: Vec<String>,
}

impl Source {
    /// An image that is here.
    #[must_use]
    pub fn of(candidate: &Candidate) -> Self {
        Self { names: candidate.names(), digests: candidate.all_digests() }
    }

    /// Nothing, which no rule spares.
    #[must_use]
    pub fn nothing() -> Self {
        Self { names: Vec::new(), digests: Vec::new() }
    }

    /// `image` as rules see it.
    pub(super) fn named(&self, image: Image) -> Image {
        Image { names: self.names.clone(), digests: self.digests.clone(), ..image }
    }
}
