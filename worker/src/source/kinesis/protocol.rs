//! The SDK's protocol, with [`decode`] before its decoder of GetRecords' answers.
//!
//! Owns which decoder reads an answer. Endpoints, signing, retries, time limits and errors stay the SDK's: it asks the
//! protocol for a success only, once its body is here whole. Must never answer for the SDK what isn't a plain answer.

use std::cell::Cell;
use std::future::Future;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_smithy_json::protocol::aws_json_rpc::AwsJsonRpcProtocol;
use aws_smithy_runtime_api::http::{Request, Response, StatusCode};
use aws_smithy_schema::protocol::{ClientProtocol, SharedClientProtocol};
use aws_smithy_schema::serde::{SerdeError, SerializableStruct, ShapeDeserializer};
use aws_smithy_schema::{Schema, ShapeId};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::endpoint::Endpoint;
use aws_smithy_types::error::metadata::Builder;

use super::decode::decode;
use super::sdk::{GET_RECORDS, Words, reply};
use super::{Reply, StreamError};

tokio::task_local! {
    /// The answer of the call that this task makes. The SDK decodes in the task that calls it.
    static TAKEN: Cell<Option<Reply>>;
}

/// What the SDK decodes in place of an answer that was read already.
const NOTHING: &[u8] = b"{}";

/// The client, with a protocol that knows plain answers of GetRecords.
pub(super) fn with_plain_replies(client: &Client) -> Client {
    let config = client.config();
    let inner = match config.protocol() {
        Some(protocol) => protocol.clone(),
        None => sdk_protocol(),
    };
    let protocol = SharedClientProtocol::new(PlainReplies { inner });
    let mut config = config.to_builder();
    config.set_protocol(Some(protocol));
    Client::from_conf(config.build())
}

/// As the SDK sets it when nobody else does.
fn sdk_protocol() -> SharedClientProtocol {
    let protocol = AwsJsonRpcProtocol::aws_json_1_1();
    SharedClientProtocol::new(protocol.with_default_namespace("com.amazonaws.kinesis"))
}

/// Runs a call of GetRecords. Its answer comes beside the SDK's output, which is empty then, when it was a plain one.
pub(super) async fn watched<T>(call: impl Future<Output = T>) -> (T, Option<Reply>) {
    let call = async {
        let output = call.await;
        (output, TAKEN.with(Cell::take))
    };
    TAKEN.scope(Cell::new(None), call).await
}

/// A body of status 2xx as the SDK's own decoder has it: what [`decode`] is measured by.
///
/// # Errors
/// The SDK refuses it, or a record holds what no record can do without.
pub fn decode_by_sdk(body: &[u8]) -> Result<Reply, StreamError> {
    let words = Words {
        stream: String::new(),
    };
    let refused = |error: SerdeError| words.odd(GET_RECORDS, error.to_string());
    let status = StatusCode::try_from(200);
    let status = status.map_err(|error| words.odd(GET_RECORDS, error.to_string()))?;
    let response = Response::new(status, SdkBody::from(body));
    let settings = ConfigBag::base();
    let protocol = sdk_protocol();
    let mut values = protocol
        .deserialize_response(&response, GetRecordsOutput::SCHEMA, &settings)
        .map_err(refused)?;
    let output = GetRecordsOutput::deserialize(&mut *values).map_err(refused)?;
    reply(&words, output)
}

#[derive(Debug)]
struct PlainReplies {
    inner: SharedClientProtocol,
}

impl PlainReplies {
    /// True when the answer was plain, and lies in [`TAKEN`].
    fn takes(&self, response: &Response, schema: &Schema<'_>) -> bool {
        let Some(body) = response.body().bytes() else {
            return false;
        };
        if schema.shape_id() != GetRecordsOutput::SCHEMA.shape_id() {
            return false;
        }
        TAKEN
            .try_with(|taken| {
                let reply = decode(body);
                let is_plain = reply.is_some();
                // An earlier attempt's is of no use.
                taken.set(reply);
                is_plain
            })
            .unwrap_or(false)
    }
}

impl ClientProtocol for PlainReplies {
    fn protocol_id(&self) -> &ShapeId<'static> {
        self.inner.protocol_id()
    }

    fn serialize_request(
        &self,
        input: &dyn SerializableStruct,
        input_schema: &Schema<'_>,
        endpoint: &str,
        cfg: &ConfigBag,
    ) -> Result<Request, SerdeError> {
        self.inner
            .serialize_request(input, input_schema, endpoint, cfg)
    }

    fn deserialize_response<'a>(
        &self,
        response: &'a Response,
        output_schema: &Schema<'_>,
        cfg: &'a ConfigBag,
    ) -> Result<Box<dyn ShapeDeserializer + 'a>, SerdeError> {
        match self.inner.payload_codec() {
            Some(codec) if self.takes(response, output_schema) => {
                Ok(codec.create_deserializer(NOTHING))
            }
            _ => self
                .inner
                .deserialize_response(response, output_schema, cfg),
        }
    }

    fn parse_error_metadata(
        &self,
        response: &Response,
        cfg: &ConfigBag,
    ) -> Result<Builder, SerdeError> {
        self.inner.parse_error_metadata(response, cfg)
    }

    fn deserialize_error_response<'a>(
        &self,
        response: &'a Response,
        cfg: &'a ConfigBag,
    ) -> Result<Box<dyn ShapeDeserializer + 'a>, SerdeError> {
        self.inner.deserialize_error_response(response, cfg)
    }

    fn update_endpoint(
        &self,
        request: &mut Request,
        endpoint: &Endpoint,
        cfg: &ConfigBag,
    ) -> Result<(), SerdeError> {
        self.inner.update_endpoint(request, endpoint, cfg)
    }

    fn payload_codec(&self) -> Option<&dyn aws_smithy_schema::codec::DynCodec> {
        self.inner.payload_codec()
    }

    fn event_stream_media_type(&self) -> Option<&str> {
        self.inner.event_stream_media_type()
    }

    fn parse_event_stream_error_metadata(&self, payload: &[u8]) -> Result<Builder, SerdeError> {
        self.inner.parse_event_stream_error_metadata(payload)
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
