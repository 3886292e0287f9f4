//! The image adapter: encoded pictures in, detections or classes out, around a model that knows neither.
//!
//! What is special about a model stands in the table `[adapter]` of its `model.toml` ([`declared`]); nothing
//! here names a model, an output or a size. Around the model stand two others:
//!
//! * [`pre`]: [`decode`] (dimensions are checked before pixels) -> [`resize`] -> [`pixels`]: values as the
//!   model wants them, and the *geometry* that leads back to the original;
//! * [`post`]: [`boxes`] or a raw [`head`] -> threshold -> [`nms`] -> pixels of the original, or [`classify`].
//!
//! Both are models, joined by `tenon_runtime::Chain`; [`adapter`] does that. [`draw`] paints detections.

pub mod adapter;
pub mod boxes;
pub mod classify;
pub mod declared;
pub mod decode;
pub mod draw;
pub mod head;
pub mod labels;
pub mod nms;
pub mod numbers;
pub mod orientation;
pub mod pixels;
pub mod post;
pub mod pre;
pub mod resize;
pub mod sample;

pub use adapter::ImageAdapter;
