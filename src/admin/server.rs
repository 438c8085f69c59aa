//! The sidecar's end of the admin socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::protocol::{Message, Request};
use crate::engine::Engine;
use crate::files;
use crate::operations;
use crate::report::Report;

/// A request is a line of a few hundred bytes; thousands of names still fit.
const LONGEST_REQUEST: u64 = 1024 * 1024;
/// Whoever connects says at once what is wanted.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// A bound admin socket; its file is removed when this is dropped.
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Tells our socket from one that another process has put in its place.
    inode: u64,
}

impl AdminSocket {
    /// Binds the socket (mode 0600). One whose process is gone is replaced; a living one is an error.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            // The socket's own mode guards it; nginx's workers may have to pass to another socket beside it.
            files::create_directory(directory, 0o755)?;
        }
        if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::AddrInUse,
                        "another sidecar listens there",
                    ));
                }
                Err(_) => files::discard(path)?,
            }
        }
        // Bound under another name first, so that nobody connects before the mode is set.
        let unfinished = files::temporary(path);
        files::discard(&unfinished)?;
        let listener = UnixListener::bind(&unfinished)?;
        std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
        let inode = std::fs::symlink_metadata(&unfinished)?.ino();
        std::fs::rename(&unfinished, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode,
        })
    }

    /// Answers requests until told to stop; then those under way are let go, which closes their doors.
    pub async fn serve(self, engine: Arc<Engine>, stop: CancellationToken) {
        self.serve_until(engine, stop, CancellationToken::new())
            .await;
    }

    /// The same; once it is `enough`, requests under way are answered, but no more are taken.
    pub async fn serve_until(
        self,
        engine: Arc<Engine>,
        stop: CancellationToken,
        enough: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        let ending = stop.child_token();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
                () = enough.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (engine, ending) = (Arc::clone(&engine), ending.clone());
                    tasks.spawn(async move {
                        tokio::select! {
                            () = answer(stream, engine) => {}
                            () = ending.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin socket can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = files::discard(&self.path);
        }
    }
}

/// One connection: one request, its notes, its end. If whoever asked goes away, the work is let go.
async fn answer(stream: UnixStream, engine: Arc<Engine>) {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading.take(LONGEST_REQUEST));
    let mut line = String::new();
    let read = tokio::time::timeout(REQUEST_LIMIT, reading.read_line(&mut line)).await;
    if !matches!(read, Ok(Ok(length)) if length > 0) {
        return;
    }
    let request = match serde_json::from_str::<Request>(&line) {
        Ok(request) => request,
        Err(error) => {
            let report = Report::new(
                format!("the sidecar doesn't understand the request: {error}"),
                "use a `sidedoor` of the same version as the sidecar's",
            );
            let _ = write(&mut writing, &Message::Failed(report)).await;
            return;
        }
    };
    let (notes, mut told) = mpsc::unbounded_channel();
    let work = operations::perform(
        &engine,
        request,
        Arc::new(move |note| drop(notes.send(note))),
    );
    tokio::pin!(work);
    let end = loop {
        tokio::select! {
            biased;
            Some(note) = told.recv() => {
                if write(&mut writing, &Message::Note(note)).await.is_err() {
                    return;
                }
            }
            end = &mut work => break end,
            () = gone(&mut reading) => return,
        }
    };
    while let Ok(note) = told.try_recv() {
        if write(&mut writing, &Message::Note(note)).await.is_err() {
            return;
        }
    }
    let message = match end {
        Ok(reply) => Message::Reply(Box::new(reply)),
        Err(report) => Message::Failed(report),
    };
    let _ = write(&mut writing, &message).await;
}

/// Resolves when the other end has closed the connection.
async fn gone(reading: &mut BufReader<tokio::io::Take<OwnedReadHalf>>) {
    let mut byte = [0];
    while reading
        .get_mut()
        .get_mut()
        .read(&mut byte)
        .await
        .is_ok_and(|length| length > 0)
    {}
}

async fn write(writing: &mut OwnedWriteHalf, message: &Message) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writing.write_all(&line).await
}
