//! Docker Engine API: the endpoint table, versions, error statuses, and the
//! shapes of requests and answers. Pure: hakod serves it, hako speaks it.
//!
//! Shapes are our own and not bollard's, because clients rely on where Docker
//! writes `null`, `[]`, `{}` or nothing.

pub mod decode;
pub mod endpoint;
pub mod error;
pub mod filters;
pub mod signal;
pub mod template;
pub mod time;
pub mod types;
pub mod units;
pub mod unsupported;
pub mod version;

pub use endpoint::{ENDPOINTS, Endpoint, Matched, Method, Op, lookup};
pub use error::{ErrorResponse, http_status, kind_of_status};
pub use filters::Filters;
pub use version::ApiVersion;
