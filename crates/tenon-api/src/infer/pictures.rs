//! Operations over pictures on the native wire: a picture as the body, several as parts of a form, or JSON;
//! the answer as JSON, or the picture with what was found painted on it.

use bytes::Bytes;
use futures::stream;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use tenon_codec::Limits;
use tenon_codec::native::picture::{self, Pictures};
use tenon_contract::{Fault, FaultKind, NamedTensor, Operation};

use super::native::{content_type, is_json};
use crate::parts::Shared;

/// Pictures painted at once; it is done away from the threads that serve.
pub(crate) const PAINTED_AT_ONCE: usize = 4;
/// Bytes of the header that separates the parts of a form.
const BOUNDARY_BYTES: usize = 200;

/// Reads the pictures of a request by its content type.
///
/// # Errors
/// The content type is not read, or the body is not what it says.
pub(crate) async fn read(headers: &HeaderMap, body: Bytes, limits: &Limits) -> Result<Pictures, Fault> {
    match content_type(headers).as_str() {
        "application/octet-stream" => Pictures::new(&[body], false, limits),
        "multipart/form-data" => parts(headers, body, limits).await,
        kind if kind.starts_with("image/") => Pictures::new(&[body], false, limits),
        kind if is_json(kind) => Pictures::decode(&body, limits),
        kind => {
            let kind: String = kind.chars().take(80).collect();
            Err(Fault::new(
                FaultKind::Unsupported,
                format!(
                    "content type `{kind}` is not read here; send image/jpeg, image/png or image/webp, \
                     multipart/form-data with pictures, or application/json"
                ),
            ))
        }
    }
}

/// The parts of a form, each a picture, whatever their names. One part is answered like one picture.
async fn parts(headers: &HeaderMap, body: Bytes, limits: &Limits) -> Result<Pictures, Fault> {
    let broken = |error: multer::Error| Fault::invalid(format!("read multipart: {error}"));
    let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(header).map_err(broken)?;
    if boundary.len() > BOUNDARY_BYTES {
        return Err(Fault::invalid(format!(
            "read multipart: boundary is longer than {BOUNDARY_BYTES} bytes"
        )));
    }
    let once = stream::once(async move { Ok::<_, std::convert::Infallible>(body) });
    let mut form = multer::Multipart::new(once, boundary);
    let mut pictures: Vec<Bytes> = Vec::new();
    while let Some(part) = form.next_field().await.map_err(broken)? {
        if pictures.len() >= limits.tensors {
            let text = format!("read multipart: exceeds the limit tensors of {}", limits.tensors);
            return Err(Fault::new(FaultKind::TooLarge, text));
        }
        pictures.push(part.bytes().await.map_err(broken)?);
    }
    match pictures.len() {
        0 => Err(Fault::invalid("read multipart: it has no parts; send a picture in each")),
        count => Pictures::new(&pictures, count > 1, limits),
    }
}

/// Whether the caller wants the annotated picture.
pub(crate) fn wants_picture(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepts.flat_map(|value| value.split(','));
    kinds.any(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("image/png"))
}

/// Checks early that a picture can be the answer.
///
/// # Errors
/// The operation finds no boxes, or there are several pictures.
pub(crate) fn check_painting(operation: &Operation, pictures: &Pictures) -> Result<(), Fault> {
    let name = &operation.name;
    if &**name != tenon_contract::picture::DETECT {
        let text = format!("operation `{name}` has no picture as its answer; accept application/json");
        return Err(Fault::new(FaultKind::Unsupported, text));
    }
    match pictures.many {
        true => Err(Fault::invalid(
            "several pictures have no one picture as their answer; accept application/json",
        )),
        false => Ok(()),
    }
}

/// The picture with its detections painted on it, as PNG.
///
/// # Errors
/// Too many are being painted now.
pub(crate) async fn painted(
    api: &Shared,
    pictures: &Pictures,
    outputs: &[NamedTensor],
) -> Result<Vec<u8>, Fault> {
    let mut found = picture::detections(outputs)?;
    let found = found.pop().ok_or_else(|| Fault::internal("no answer to the picture"))?;
    let _place = api.painters.try_acquire().map_err(|_| {
        Fault::overloaded(format!("{PAINTED_AT_ONCE} pictures are being painted, the limit; try again later"))
    })?;
    let bytes = pictures.image.tensor.strings()?.next().map(Bytes::copy_from_slice).unwrap_or_default();
    let paint = api.paint;
    let painting = tokio::task::spawn_blocking(move || paint(&bytes, &found.detections));
    painting.await.map_err(|error| Fault::internal(format!("paint picture: {error}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    async fn check(kind: &str, body: &str, expected: Result<(&[&str], bool), &str>) {
        let read = read(&headers(CONTENT_TYPE, kind), body.to_owned().into(), &Limits::default()).await;
        match expected {
            Ok((pictures, many)) => {
                let read = read.unwrap();
                let found: Vec<_> =
                    read.image.tensor.strings().unwrap().map(String::from_utf8_lossy).collect();
                assert_eq!((found, read.many), (pictures.iter().map(|text| (*text).into()).collect(), many));
            }
            Err(text) => assert!(read.clone().unwrap_err().text.contains(text), "{read:?}"),
        }
    }

    #[tokio::test]
    async fn pictures_come_in_three_forms() {
        check("image/jpeg", "picture", Ok((&["picture"], false))).await;
        check("application/octet-stream", "picture", Ok((&["picture"], false))).await;
        check("application/json", "{\"data\":\"aGk=\"}", Ok((&["hi"], false))).await;
        check("text/csv", "a,b", Err("content type `text/csv`")).await;
        let form = "--X\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\none\r\n";
        let more = "--X\r\ncontent-disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\ntwo\r\n";
        check("multipart/form-data; boundary=X", &format!("{form}--X--\r\n"), Ok((&["one"], false))).await;
        let two = format!("{form}{more}--X--\r\n");
        check("multipart/form-data; boundary=X", &two, Ok((&["one", "two"], true))).await;
        check("multipart/form-data; boundary=X", "--X--\r\n", Err("no parts")).await;
        check("multipart/form-data; boundary=X", form, Err("read multipart")).await;
        check("multipart/form-data", form, Err("read multipart")).await;
    }

    #[test]
    fn a_picture_is_only_given_to_those_who_ask_for_it() {
        for (accept, expected) in
            [("image/png", true), ("text/html, image/PNG;q=0.9", true), ("*/*", false), ("image/*", false)]
        {
            assert_eq!(wants_picture(&headers(ACCEPT, accept)), expected, "{accept}");
        }
    }
}
