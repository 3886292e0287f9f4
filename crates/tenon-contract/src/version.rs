//! Versions of models as they are registered: immutable, known by their digest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Contract, Digest, NameError, Proof, Signature, VersionId};

/// How the bytes of an artifact are encoded: `onnx`, `h2o-mojo`, `xgboost`, ...
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Format(std::borrow::Cow<'static, str>);

impl Format {
    /// ONNX, by itself or in a bundle.
    pub const ONNX: Self = Self(std::borrow::Cow::Borrowed("onnx"));

    /// The name of the format.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Format {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // The grammar of formats is that of names.
        let name: crate::ModelName = text.parse()?;
        Ok(Self(name.as_str().to_owned().into()))
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.0.into_owned()
    }
}

impl TryFrom<String> for Format {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What people say about a version, from its bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// One line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SPDX expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Model card, Markdown, untrusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
}

/// One immutable version of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Model and number.
    pub id: VersionId,
    /// sha256 of the uploaded bytes: a bare artifact or a zipped bundle.
    pub digest: Digest,
    /// Bytes of the upload.
    pub size: u64,
    /// How the artifact is encoded.
    pub format: Format,
    /// Tensors it takes and gives.
    pub signature: Signature,
    /// Operations it offers.
    pub contract: Contract,
    /// Proof from onboarding.
    pub proof: Proof,
    /// Description, licence, card.
    #[serde(default)]
    pub about: About,
    /// When it was registered, milliseconds since 1970.
    pub registered_at: u64,
}
