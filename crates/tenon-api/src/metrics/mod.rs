//! `/metrics`: the node's figures for Prometheus.
//!
//! [`declared`] says what there is; [`scrape`] and [`triton`] fill it with what the node, the jobs and the process tell;
//! [`text`] writes it down. A name that is not declared cannot be written.

mod declared;
mod process;
#[cfg(test)]
mod reference;
mod scrape;
mod text;
pub(crate) mod triton;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use tenon_contract::Fault;
use tenon_control::Observe;

use crate::auth::Allowed;
use crate::parts::Shared;
use crate::status::OipFault;
use text::Form;

/// `GET /metrics`: OpenMetrics where it is asked for, else the text format of Prometheus.
pub(crate) async fn show(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    headers: HeaderMap,
) -> Result<Response, OipFault> {
    let form = wanted(&headers);
    // Away from the threads that serve: with many services this is much to write.
    let written = tokio::task::spawn_blocking(move || scrape::page(&api, form)).await;
    let text = written.map_err(|_| Fault::internal("writing the metrics broke"))?;
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// OpenMetrics where it is named and no plain text is preferred.
fn wanted(headers: &HeaderMap) -> Form {
    let mut best = (0.0, 0.0);
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0f32, "");
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = value.trim().trim_matches('"'),
                _ => {}
            }
        }
        match kind.as_str() {
            "application/openmetrics-text" if matches!(version, "" | "1.0.0") => best.0 = quality.max(best.0),
            "text/plain" => best.1 = quality.max(best.1),
            _ => {}
        }
    }
    if best.0 > 0.0 && best.0 >= best.1 { Form::OpenMetrics } else { Form::Prometheus }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_asked_for() {
        let check = |accept: &[&str], expected: Form| {
            let mut headers = HeaderMap::new();
            accept.iter().for_each(|value| {
                headers.append(ACCEPT, value.parse().unwrap());
            });
            assert_eq!(wanted(&headers), expected, "{accept:?}");
        };
        check(&[], Form::Prometheus);
        check(&["*/*"], Form::Prometheus);
        check(&["text/html"], Form::Prometheus);
        check(&["application/openmetrics-text"], Form::OpenMetrics);
        check(&["application/openmetrics-text; version=1.0.0; charset=utf-8"], Form::OpenMetrics);
        check(&["application/openmetrics-text; version=0.0.1"], Form::Prometheus);
        check(&["application/openmetrics-text;q=0"], Form::Prometheus);
        check(&["application/openmetrics-text;q=0.3", "text/plain;version=0.0.4;q=0.5"], Form::Prometheus);
        // What Prometheus 2 and 3 send.
        check(
            &[
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
               text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ],
            Form::OpenMetrics,
        );
        check(
            &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
               application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
               text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
            Form::OpenMetrics,
        );
    }
}
