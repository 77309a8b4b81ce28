//! What a build's step is made of: rules about images are about these, and not
//! about the image of the step before, which has no name yet.

use crate::images::Candidate;
use hako_model::Isolation;
use hako_platform::{Form, Image, Wish};

/// An image that a stage has begun with or has taken files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    names: Vec<String>,
    digests: Vec<String>,
    /// What it asks for holds for what is made of it.
    wish: Wish,
}

impl Source {
    /// An image that is here.
    #[must_use]
    pub fn of(candidate: &Candidate) -> Self {
        Self { names: candidate.names.clone(), digests: candidate.all_digests(), wish: candidate.manifest().wish }
    }

    /// Nothing, which no rule spares.
    #[must_use]
    pub fn nothing() -> Self {
        Self { names: Vec::new(), digests: Vec::new(), wish: Wish::default() }
    }

    /// `image` as rules see it.
    pub(super) fn named(&self, image: Image) -> Image {
        let mut image = Image { names: self.names.clone(), digests: self.digests.clone(), ..image };
        if let Form::Manifest(manifest) = &mut image.form {
            let own = &mut manifest.wish;
            if own.wall != Some(Isolation::Hyperv) {
                own.wall = self.wish.wall.or(own.wall);
            }
            own.kernel = own.kernel.max(self.wish.kernel);
        }
        image
    }
}
