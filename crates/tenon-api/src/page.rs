//! `/`: one plain page for people: the services, what they serve, what to try. Pictures can be tried on the page
//! itself, by the one script that it may run.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use tenon_contract::admin::{RepositoryView, ServiceView};
use tenon_contract::{Datatype, Fault, TensorSpec, contract, picture};
use tenon_control::Observe;

use crate::admin::services::view;
use crate::parts::{Api, Shared};
use crate::status::{Style, refusal};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The form for a token, and what the script makes of each operation that sees.
const PARTS: &str = include_str!("page.html");

/// Most elements of an input that is written out as something to try.
const TRIED: i64 = 256;

/// Nothing may be loaded or run but the one style and the one script of the page itself; they may ask this server
/// and show the picture that somebody picked.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// `GET /`. A browser that may not see it gets the page with a form for a token and nothing else.
pub(crate) async fn show(State(api): State<Shared>, headers: HeaderMap) -> Response {
    if let Err(fault) = api.access.permit(&headers, Observe) {
        let refused = refusal(&fault, Style::Oip);
        return if is_browser(&headers) { respond(refused, locked(&fault)) } else { refused };
    }
    let mut services = Vec::new();
    for service in api.node.services() {
        if let Ok(view) = view(&api, &service).await {
            services.push(view);
        }
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:8080");
    let address = format!("{}://{host}", if api.is_tls { "https" } else { "http" });
    respond(Response::default(), page(&api, &services, &address))
}

/// Whether somebody looks who can read a page.
fn is_browser(headers: &HeaderMap) -> bool {
    let mut accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.any(|kinds| kinds.contains("text/html"))
}

fn respond(mut response: Response, html: String) -> Response {
    *response.body_mut() = Body::from(html);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(VARY, HeaderValue::from_static("accept, authorization"));
    response
}

/// The whole document around what is shown.
fn document(main: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tenon</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <h1>Tenon</h1>\n{PARTS}{main}\n<script>{SCRIPT}</script></body></html>\n"
    )
}

fn locked(fault: &Fault) -> String {
    document(&format!("<main data-locked=\"{}\"></main>", escaped(&fault.text)))
}

fn page(api: &Api, services: &[ServiceView], address: &str) -> String {
    let mut html = format!(
        "<main><p>Node <b>{}</b>, generation {}, {}. Tenon {}.</p>\n",
        escaped(&api.node.options().name),
        api.node.pin().number(),
        if api.is_ready() { "ready" } else { "<em>not ready</em>" },
        escaped(&api.tenon),
    );
    if services.is_empty() {
        html.push_str(
            "<p>Nothing is served yet. Push a model and let a service serve it:</p>\n\
             <pre>tenon push digits model.onnx\ntenon deploy digits digits/1</pre>\n",
        );
    }
    for service in services {
        section(&mut html, service, address);
    }
    if let Some(repository) = &api.control.repository {
        unserved(&mut html, &repository.index());
    }
    html.push_str(
        "<footer><a href=\"/v2\">/v2</a> <a href=\"/api/v1/services\">/api/v1/services</a> \
         <a href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a> <a href=\"/metrics\">/metrics</a></footer></main>",
    );
    document(&html)
}

/// What the model repository holds beside that, and what is to be said of it.
fn unserved(html: &mut String, repository: &RepositoryView) {
    let troubles = repository.unserved.iter().filter(|unserved| unserved.trouble);
    let troubles = troubles.map(|unserved| {
        let version = unserved.version.map(|version| format!("/{version}")).unwrap_or_default();
        (format!("{}{version}", unserved.name), &unserved.reason)
    });
    let notes = repository.notes.iter().map(|(service, note)| (service.clone(), note));
    let lines: Vec<_> = troubles.chain(notes).collect();
    if lines.is_empty() {
        return;
    }
    html.push_str("<section><h2>In the model repository</h2>\n<dl>");
    for (name, reason) in lines {
        let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", escaped(&name), escaped(reason));
    }
    html.push_str("</dl></section>\n");
}

fn section(html: &mut String, service: &ServiceView, address: &str) {
    let name = &service.service;
    let (class, health) = match (&service.fault, service.ready) {
        (_, true) => ("ready", "ready".to_owned()),
        (Some(fault), false) => ("down", format!("down: {}", escaped(&fault.text))),
        (None, false) => ("down", "down".to_owned()),
    };
    let _ = write!(
        html,
        "<section><h2>{name} <span class=\"{class}\">{health}</span></h2>\n<dl>\
         <dt>version</dt><dd><b>{}</b>, {}</dd>\
         <dt>digest</dt><dd><code>{}</code></dd>\
         <dt>revision</dt><dd>{}</dd>\
         <dt>undo</dt><dd>{}</dd>\
         <dt>answered</dt><dd>{} since the start</dd></dl>\n",
        service.version,
        service.format,
        service.digest.short(),
        service.revision,
        service
            .undo
            .as_ref()
            .map_or("nothing to go back to".to_owned(), |undo| format!("to {}", undo.version)),
        service.traffic.answered,
    );
    promises(html, service);
    html.push_str("<h3>Try</h3>\n");
    looks(html, service);
    html.push_str("<pre>");
    let _ = write!(html, "{}", escaped(&to_try(service, address)));
    html.push_str("</pre></section>\n");
}

fn promises(html: &mut String, service: &ServiceView) {
    html.push_str("<table><tr><th>operation</th><th>takes</th><th>gives</th></tr>\n");
    for operation in &service.contract.operations {
        let fields = |message: &tenon_contract::Message| match message.tensors() {
            Some(specs) => specs.iter().map(TensorSpec::to_string).collect::<Vec<_>>().join("\n"),
            None => message.name.to_string(),
        };
        let (name, takes, gives) = (&operation.name, fields(&operation.input), fields(&operation.output));
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td class=\"tensors\">{}</td><td class=\"tensors\">{}</td></tr>",
            escaped(name),
            escaped(&takes),
            escaped(&gives)
        );
    }
    html.push_str("</table>\n");
}

/// A place for a picture for each operation whose answer the script can show.
fn looks(html: &mut String, service: &ServiceView) {
    let name = &service.service;
    for operation in &service.contract.operations {
        if let kind @ (picture::DETECT | picture::CLASSIFY) = &*operation.name {
            let _ = writeln!(
                html,
                "<div class=\"look\" data-operation=\"{kind}\" data-path=\"/services/{name}/methods/{kind}\"></div>"
            );
        }
    }
}

/// Lines that work as they are copied, on the machine of the server.
fn to_try(service: &ServiceView, address: &str) -> String {
    let name = &service.service;
    let mut lines = String::new();
    let mut of_pictures = false;
    for operation in service.contract.operations.iter().filter(|operation| operation.view.is_some()) {
        of_pictures = true;
        let path = format!("{address}/services/{name}/methods/{}", operation.name);
        let _ = writeln!(lines, "curl -s {path} -H 'content-type: image/jpeg' --data-binary @picture.jpg");
    }
    if of_pictures {
        let _ = writeln!(lines, "curl -s {address}/v2/models/{name}");
    } else if let Some(inputs) = service.contract.tensors().and_then(|tensors| sample(&tensors.inputs)) {
        let body = format!("{{\"inputs\":[{inputs}]}}");
        let _ = writeln!(lines, "curl -s {address}/v2/models/{name}/infer -d {}", quoted(&body));
    }
    let operations = service.contract.operations.iter().map(|operation| &operation.name);
    if operations.into_iter().any(|operation| &**operation == contract::INFER) {
        let _ = writeln!(lines, "curl -s {address}/v2/models/{name}");
    }
    let _ = writeln!(lines, "curl -s {address}/api/v1/services/{name}/receipts");
    let _ = write!(lines, "tenon bench infer {name}");
    lines
}

/// One row of zeros for each input, as JSON; nothing where that would be long.
fn sample(inputs: &[TensorSpec]) -> Option<String> {
    let mut tensors = Vec::new();
    for spec in inputs {
        let shape: Vec<i64> = spec.shape.iter().map(|dim| dim.size().unwrap_or(1)).collect();
        let elements = shape.iter().try_fold(1i64, |product, size| product.checked_mul(*size))?;
        if elements > TRIED {
            return None;
        }
        let zero = match spec.datatype {
            Datatype::Bool => "false",
            Datatype::Bytes => "\"\"",
            _ => "0",
        };
        let data = vec![zero; usize::try_from(elements).ok()?].join(",");
        let name = serde_json::to_string(&*spec.name).ok()?;
        tensors.push(format!(
            "{{\"name\":{name},\"datatype\":\"{}\",\"shape\":{},\"data\":[{data}]}}",
            spec.datatype,
            serde_json::to_string(&shape).ok()?
        ));
    }
    Some(tensors.join(","))
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Text without a meaning in HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_have_no_power_over_page_or_shell() {
        assert_eq!(escaped("<b a=\"'&\">"), "&lt;b a=&quot;'&amp;&quot;&gt;");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[test]
    fn what_is_to_be_tried_fits_the_signature_or_is_left_out() {
        let spec = |datatype, shape: &[i64]| [TensorSpec::new("x", datatype, shape)];
        let check =
            |specs: &[TensorSpec], expected: Option<&str>| assert_eq!(sample(specs).as_deref(), expected);
        let fp32 = r#"{"name":"x","datatype":"FP32","shape":[1,2],"data":[0,0]}"#;
        check(&spec(Datatype::Fp32, &[-1, 2]), Some(fp32));
        let bytes = r#"{"name":"x","datatype":"BYTES","shape":[],"data":[""]}"#;
        check(&spec(Datatype::Bytes, &[]), Some(bytes));
        check(&spec(Datatype::Fp32, &[1000]), None);
        check(&spec(Datatype::Fp32, &[i64::MAX, i64::MAX]), None);
    }
}
