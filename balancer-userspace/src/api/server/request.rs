//! What is taken from a request, refused as the API refuses everything.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::super::BackendName;
use super::super::wire::{ApiError, ErrorCode};
use super::MAX_BODY;

/// The body of a request, whatever its content type: curl's default is a form.
#[derive(Debug)]
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        Bytes::from_request(request, state).await.map(Self).map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {MAX_BODY} bytes"))
            }
            status => refusal(status, format!("the body could not be read: {}", error.body_text())),
        })
    }
}

/// The backend that a path names.
#[derive(Debug)]
pub(super) struct Named(pub(super) BackendName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((service, backend))) => Ok(Self(BackendName { service, backend })),
            Err(error) => Err(refusal(
                error.status(),
                format!("{}: {}; write names percent-encoded, in UTF-8", parts.uri.path(), error.body_text()),
            )),
        }
    }
}

/// Answers a request that makes no sense with another status than [`ErrorCode::Invalid`] has by itself.
pub(super) fn refusal(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(ApiError::new(ErrorCode::Invalid, message))).into_response()
}
