//! The command's end of the admin socket.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Message, Reply, Request};
use crate::progress::Note;
use crate::report::Report;

/// A connection to a running sidecar.
pub struct Client {
    stream: UnixStream,
}

/// Why a sidecar could not be asked although there seems to be one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is not for us.
    #[error("the admin socket {path} can't be opened: {source}")]
    Unreachable {
        /// Its path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It broke off.
    #[error("the sidecar broke off: {0}")]
    BrokenOff(String),
}

impl Client {
    /// Connects; `None` where no sidecar runs.
    pub async fn connect(path: &Path) -> Result<Option<Self>, ClientError> {
        match UnixStream::connect(path).await {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(ClientError::Unreachable {
                path: path.display().to_string(),
                source,
            }),
        }
    }

    /// Asks, passes on the notes, and returns what came of it.
    pub async fn ask(
        self,
        request: &Request,
        mut note: impl FnMut(Note),
    ) -> Result<Result<Reply, Report>, ClientError> {
        let broken = |error: io::Error| ClientError::BrokenOff(error.to_string());
        let (reading, mut writing) = self.stream.into_split();
        let mut line = serde_json::to_vec(request).map_err(|error| broken(error.into()))?;
        line.push(b'\n');
        writing.write_all(&line).await.map_err(broken)?;
        let mut lines = BufReader::new(reading).lines();
        while let Some(line) = lines.next_line().await.map_err(broken)? {
            match serde_json::from_str(&line).map_err(|error| broken(error.into()))? {
                Message::Note(told) => note(told),
                Message::Reply(reply) => return Ok(Ok(*reply)),
                Message::Failed(report) => return Ok(Err(report)),
            }
        }
        Err(ClientError::BrokenOff("it ended without an answer".into()))
    }
}
