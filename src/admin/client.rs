//! The command's end of the admin socket.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

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
        note: impl FnMut(Note),
    ) -> Result<Result<Reply, Report>, ClientError> {
        let mut conversation = self.begin();
        conversation.say(request).await?;
        conversation.end(note).await
    }

    pub(super) fn begin(self) -> Conversation {
        let (reading, writing) = self.stream.into_split();
        Conversation {
            lines: BufReader::new(reading).lines(),
            writing,
        }
    }
}

/// Requests out, messages in, a line each.
#[derive(Debug)]
pub(super) struct Conversation {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writing: OwnedWriteHalf,
}

impl Conversation {
    pub(super) async fn say(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request).map_err(|error| broken(error.into()))?;
        line.push(b'\n');
        self.writing.write_all(&line).await.map_err(broken)
    }

    /// What came of what was said; notes on the way are passed on.
    pub(super) async fn end(
        &mut self,
        mut note: impl FnMut(Note),
    ) -> Result<Result<Reply, Report>, ClientError> {
        while let Some(line) = self.lines.next_line().await.map_err(broken)? {
            match serde_json::from_str(&line).map_err(|error| broken(error.into()))? {
                Message::Note(told) => note(told),
                Message::Reply(reply) => return Ok(Ok(*reply)),
                Message::Failed(report) => return Ok(Err(report)),
            }
        }
        Err(ClientError::BrokenOff("it ended without an answer".into()))
    }
}

fn broken(error: io::Error) -> ClientError {
    ClientError::BrokenOff(error.to_string())
}
