//! The compiled XDP program: the one inside the binary, or a file given instead.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::Error;

/// Names an object file to use in place of the embedded one.
const VARIABLE: &str = "BALANCER_BPF_OBJECT";

/// An ELF object with the program and its maps.
#[derive(Clone, Debug)]
pub struct Object {
    origin: String,
    bytes: Cow<'static, [u8]>,
}

impl Object {
    /// The object built into this binary.
    ///
    /// # Errors
    ///
    /// When the binary was built without one, as plain `cargo build` does on a machine without a BPF toolchain.
    pub fn embedded() -> Result<Self, Error> {
        embedded_bytes()
            .map(|bytes| Self { origin: "built into this binary".to_owned(), bytes: Cow::Borrowed(bytes) })
            .ok_or(Error::NoObject)
    }

    /// An object file.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let bytes =
            std::fs::read(path).map_err(|source| Error::ReadObject { path: path.to_owned(), source })?;
        Ok(Self { origin: path.display().to_string(), bytes: Cow::Owned(bytes) })
    }

    /// The file if one is given or the environment variable `BALANCER_BPF_OBJECT` names one, otherwise the embedded object.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or there is no embedded object.
    pub fn find(path: Option<&Path>) -> Result<Self, Error> {
        let named = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        match path.map(Path::to_owned).or_else(named) {
            Some(path) => Self::from_file(&path),
            None => Self::embedded(),
        }
    }

    /// Where it came from, for people.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(embedded_object)]
const fn embedded_bytes() -> Option<&'static [u8]> {
    Some(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/balancer.o")))
}

#[cfg(not(embedded_object))]
const fn embedded_bytes() -> Option<&'static [u8]> {
    None
}
