//! The beginning of a connection from a load balancer: its PROXY protocol header, and then the client it speaks for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::sync::mpsc;
use tokio_util::io::poll_read_buf;

use super::client::{Client, Phase};
use super::connection;
use super::places::Place;
use super::proxy_protocol::{self, Told};
use super::stream::Stream;

/// Reads the header and serves the client it names. A connection without one is closed without a word, as the protocol demands.
pub(super) async fn introduced(
    mut stream: Stream,
    balancer: Arc<Client>,
    permit: Option<Place>,
    arrivals: mpsc::UnboundedSender<Arc<Client>>,
) {
    balancer.enter(Phase::ReadingHead);
    let read = read_header(&mut stream, &balancer).await;
    balancer.end();
    let (told, ahead) = match read {
        Ok(header) => header,
        Err(error) => {
            tracing::debug!(peer = %balancer.address_text, %error, "a connection without an introduction was closed");
            return;
        }
    };
    let client = Arc::new(match told {
        Told::Nothing => balancer.again(),
        Told::Client {
            source,
            destination,
        } => Client::new(
            Arc::clone(&balancer.gate),
            Some(source.ip()),
            Some(destination.port()),
        ),
    });
    // The tick ends only with the thread.
    let _watched = arrivals.send(Arc::clone(&client));
    connection::serve_with(stream, ahead.freeze(), client, permit).await;
}

async fn read_header(stream: &mut Stream, balancer: &Client) -> io::Result<(Told, BytesMut)> {
    let mut read = BytesMut::new();
    std::future::poll_fn(|cx| {
        balancer.set_waker(cx.waker());
        std::task::Poll::Ready(())
    })
    .await;
    loop {
        match proxy_protocol::read(&read) {
            Ok(Some((told, length))) => {
                read.advance(length);
                return Ok((told, read));
            }
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        let count = std::future::poll_fn(|cx| {
            if balancer.is_expired() || balancer.is_draining() {
                return std::task::Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            poll_read_buf(Pin::new(&mut *stream), cx, &mut read)
        })
        .await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
