//! `kind = "image"`: what [`Declared`] says, put around a model.

use std::sync::Arc;

use tenon_contract::{Contract, NamedTensor, Signature, Tensor, picture};
use tenon_runtime::bundle::MANIFEST;
use tenon_runtime::{Adapter, Bundle, Capabilities, Chain, EachRow, LoadError, Model, Session};

use crate::classify::Classes;
use crate::declared::{Declared, KIND, refused};
use crate::post::Detections;
use crate::pre::{GEOMETRY, Pre};
use crate::sample;

/// Wraps models that see pictures.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImageAdapter;

impl Adapter for ImageAdapter {
    fn kind(&self) -> &str {
        KIND
    }

    fn build(&self) -> &str {
        concat!("tenon-vision ", env!("CARGO_PKG_VERSION"))
    }

    fn wrap(&self, bundle: &Bundle, model: Arc<dyn Model>) -> Result<Box<dyn Model>, LoadError> {
        let table = bundle.manifest().adapter.as_ref();
        let table = table.ok_or_else(|| LoadError::malformed(MANIFEST, "has no table [adapter]"))?;
        wrap(&Declared::read(table)?, bundle, model)
    }
}

fn wrap(declared: &Declared, bundle: &Bundle, model: Arc<dyn Model>) -> Result<Box<dyn Model>, LoadError> {
    let signature = model.signature();
    if signature.outputs.iter().any(|output| &*output.name == GEOMETRY) {
        return Err(refused("image", format!("an output of the model is called `{GEOMETRY}`")));
    }
    let pre = Pre::new(&declared.image, signature)?;
    let (contract, behind, one_by_one): (Contract, Arc<dyn Model>, bool) =
        match (&declared.detect, &declared.classify) {
            (Some(table), _) => {
                let post = Detections::new(table, signature, bundle)?;
                let one_by_one = post.one_by_one();
                (picture::detect(table.top_k), Arc::new(post), one_by_one)
            }
            (None, Some(table)) => {
                let post = Classes::new(table, signature, bundle)?;
                let one_by_one = post.one_by_one();
                (picture::classify(table.top_k), Arc::new(post), one_by_one)
            }
            (None, None) => return Err(refused("detect", "is missing")),
        };
    let one_by_one = one_by_one || pre.one_by_one();
    let chain = Chain::new(vec![Arc::new(pre), model, behind])?;
    let seeing = Seeing { chain, contract };
    Ok(if one_by_one { Box::new(EachRow::new(Arc::new(seeing))?) } else { Box::new(seeing) })
}

/// The chain with what callers see of it.
struct Seeing {
    chain: Chain,
    contract: Contract,
}

impl Model for Seeing {
    fn signature(&self) -> &Signature {
        self.chain.signature()
    }

    fn contract(&self) -> Contract {
        self.contract.clone()
    }

    fn samples(&self, rows: usize) -> Option<Vec<NamedTensor>> {
        let pictures: Vec<_> = (0..rows).map(sample::picture).collect::<Result<_, _>>().ok()?;
        let tensor = Tensor::from_strings(vec![rows as i64], &pictures).ok()?;
        Some(vec![NamedTensor::new(picture::IMAGE, tensor)])
    }

    fn capabilities(&self) -> Capabilities {
        self.chain.capabilities()
    }

    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        self.chain.session()
    }
}
