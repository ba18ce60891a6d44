//! `MediaFileService`: what the federation service reads for other servers.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::StatusCode;
use plexus_events::mxc::is_media_id;
use plexus_matrix_http::{MatrixError, media::MAX_WAIT};
use plexus_proto::{
    common::v1::ErrorReason,
    media::v1::{
        FileHead, ReadFileRequest, ReadFileResponse,
        media_file_service_server::{MediaFileService, MediaFileServiceServer},
    },
};
use plexus_service::refusal::refusal;
use tonic::{Code, Request, Response, Status, service::Routes};

use crate::{
    Media,
    disposition::content_disposition,
    id::{MediaUri, not_found},
    serve::{File, told_type},
    thumbnail::Size,
};

struct Service {
    media: Media,
}

/// The services for other services.
pub(crate) fn routes(media: &Media) -> Routes {
    let mut routes = Routes::builder();
    routes.add_service(MediaFileServiceServer::new(Service { media: media.clone() }));
    routes.routes()
}

#[tonic::async_trait]
impl MediaFileService for Service {
    type ReadFileStream = Pin<Box<dyn Stream<Item = Result<ReadFileResponse, Status>> + Send>>;

    async fn read_file(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let file = self.file(request.into_inner()).await.map_err(|error| status(&error))?;
        let size = file.blob.size();
        let content_type = told_type(&file.content_type);
        let head = FileHead {
            content_type: content_type.to_owned(),
            content_disposition: content_disposition(content_type, &file.file_name),
            size,
        };
        let head = ReadFileResponse { head: Some(head), chunk: Bytes::new() };
        let chunks = file.blob.stream(0..size).map(|piece| match piece {
            Ok(chunk) => Ok(ReadFileResponse { head: None, chunk }),
            Err(error) => {
                tracing::error!(%error, "a blob cannot be read");
                Err(Status::internal("the media cannot be read"))
            }
        });
        Ok(Response::new(stream::once(async { Ok(head) }).chain(chunks).boxed()))
    }
}

impl Service {
    async fn file(&self, request: ReadFileRequest) -> Result<File, MatrixError> {
        let media = &self.media;
        if !is_media_id(&request.media_id) {
            return Err(not_found());
        }
        let uri = MediaUri { server_name: media.name.clone(), media_id: request.media_id };
        let size = request
            .thumbnail
            .map(|wanted| Size::for_request(wanted.width, wanted.height, wanted.method(), wanted.animated));
        let size = size.transpose()?;
        let wait = Duration::from_millis(request.timeout_ms).min(MAX_WAIT);
        let row = media.find_own(&uri, wait).await?;
        match size {
            Some(size) => media.thumbnail_of(&uri, &row, size).await,
            None => media.open(&uri, &row).await,
        }
    }
}

/// A refusal, as services tell each other.
fn status(error: &MatrixError) -> Status {
    let message = error.error.to_string();
    match error.status {
        StatusCode::NOT_FOUND => refusal(Code::NotFound, ErrorReason::NotFound, message),
        StatusCode::GATEWAY_TIMEOUT if error.is("M_NOT_YET_UPLOADED") => {
            refusal(Code::FailedPrecondition, ErrorReason::NotYetUploaded, message)
        }
        StatusCode::BAD_REQUEST => refusal(Code::InvalidArgument, ErrorReason::InvalidParam, message),
        StatusCode::SERVICE_UNAVAILABLE => Status::unavailable(message),
        _ => Status::internal(message),
    }
}
