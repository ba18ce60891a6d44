use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    preface: Duration::from_secs(10),
    head: Duration::from_secs(30),
    idle: Duration::from_secs(90),
    write: Duration::from_secs(30),
};

fn pair() -> (DuplexStream, Timed<DuplexStream>, Arc<Activity>) {
    let (client, server) = duplex(64 * 1024);
    let activity = Arc::new(Activity::new());
    (client, Timed::new(server, TIMEOUTS, Arc::clone(&activity)), activity)
}

/// Reads until the connection ends; returns after how many seconds, and how.
async fn until_end(stream: &mut Timed<DuplexStream>) -> (u64, io::Result<usize>) {
    let begun = Instant::now();
    let end = tokio::time::timeout(Duration::from_secs(600), stream.read_to_end(&mut Vec::new())).await;
    (begun.elapsed().as_secs(), end.expect("the connection ends"))
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends() {
    let (_client, mut server, _) = pair();
    let (after, end) = until_end(&mut server).await;
    assert_eq!((after, end.unwrap_err().kind()), (10, io::ErrorKind::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn half_a_preface_is_silence() {
    let (mut client, mut server, _) = pair();
    client.write_all(&PREFACE[..23]).await.unwrap();
    assert_eq!(until_end(&mut server).await.0, 10);
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_request_comes_in_time() {
    let (mut client, mut server, activity) = pair();
    client.write_all(b"GET / HT").await.unwrap();
    let dripping = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            if client.write_all(b"x").await.is_err() {
                return;
            }
        }
    });
    let (after, end) = until_end(&mut server).await;
    assert_eq!((after, end.unwrap_err().kind()), (30, io::ErrorKind::TimedOut));
    drop((server, activity));
    dripping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_may_take_its_time() {
    let (mut client, mut server, activity) = pair();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut byte = [0; 18];
    server.read_exact(&mut byte).await.unwrap();
    let active = activity.begin();
    let wait = tokio::time::timeout(Duration::from_secs(600), server.read_u8()).await;
    assert!(wait.is_err(), "{wait:?}");
    // The next head begins anew.
    drop(active);
    client.write_all(b"G").await.unwrap();
    assert_eq!(until_end(&mut server).await.0, 30);
}

#[tokio::test(start_paused = true)]
async fn http_2_without_requests_ends_in_good_order() {
    let (mut client, mut server, activity) = pair();
    client.write_all(PREFACE).await.unwrap();
    let answering = Arc::clone(&activity).begin();
    let request = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(200)).await;
        drop(answering);
    });
    // Pings are no requests.
    let pings = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(20)).await;
            if client.write_all(b"ping").await.is_err() {
                return;
            }
        }
    });
    let (after, end) = until_end(&mut server).await;
    end.unwrap();
    assert!((290..=380).contains(&after), "{after}");
    request.await.unwrap();
    drop(server);
    pings.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_cut() {
    let (_client, mut server, _) = pair();
    let begun = Instant::now();
    let error = server.write_all(&vec![0; 1 << 20]).await.unwrap_err();
    assert_eq!((begun.elapsed().as_secs(), error.kind()), (30, io::ErrorKind::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn who_reads_drop_by_drop_is_cut_and_who_reads_slowly_is_not() {
    for (bytes, survives) in [(1_000, false), (LEAST_PROGRESS, true)] {
        let (mut client, mut server, _) = pair();
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; bytes];
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                if client.read_exact(&mut buffer).await.is_err() {
                    return;
                }
            }
        });
        let written = server.write_all(&vec![0; 1 << 20]).await;
        assert_eq!(written.is_ok(), survives, "{bytes} bytes at a time: {written:?}");
        drop(server);
        reading.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_between_answers_do_not_count() {
    let (mut client, mut server, _) = pair();
    let mut buffer = vec![0; 65 * 1024];
    for _ in 0..5 {
        let (written, read) = tokio::join!(server.write_all(&[0; 65 * 1024]), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.read_exact(&mut buffer).await
        });
        written.unwrap();
        read.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}
