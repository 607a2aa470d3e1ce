//! Servers that take secrets and refuse them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use balancer_tests::lab::Host;

/// What a fake says when it has been asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// A CONNACK of MQTT 3.1.1 with this code, and then PINGRESP to everything.
    Mqtt(u8),
    /// This.
    Text(&'static str),
    /// A redirect that carries what the request was authorised with.
    Redirect,
    /// Nothing.
    Silence,
}

/// Everything that fakes were told.
pub(crate) type Heard = Arc<Mutex<Vec<u8>>>;

/// Serves a port of the host until the test ends.
pub(crate) fn serve(host: &Host, port: u16, answer: Answer, heard: &Heard) {
    let address = SocketAddr::new(host.v4.into(), port);
    let listener = host.netns.enter(|| TcpListener::bind(address)).unwrap().unwrap();
    let heard = Arc::clone(heard);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let heard = Arc::clone(&heard);
            thread::spawn(move || converse(stream.unwrap(), answer, &heard));
        }
    });
}

/// Until the other end has had enough.
fn converse(mut stream: TcpStream, answer: Answer, heard: &Heard) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut buffer = [0; 4096];
    let mut asked = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        heard.lock().unwrap().extend(&buffer[..length]);
        let bytes = match answer {
            Answer::Mqtt(code) if asked == 0 => vec![0x20, 2, 0, code],
            Answer::Mqtt(_) => vec![0xd0, 0],
            Answer::Text(text) => text.as_bytes().to_vec(),
            Answer::Redirect => redirect(&buffer[..length]),
            Answer::Silence => Vec::new(),
        };
        asked += 1;
        let last = !matches!(answer, Answer::Mqtt(0));
        // Whoever has gone does not take its answer.
        if stream.write_all(&bytes).is_err() || last {
            return;
        }
    }
}

fn redirect(request: &[u8]) -> Vec<u8> {
    let request = String::from_utf8_lossy(request);
    let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization: "));
    let value = line.and_then(|line| line.rsplit(' ').next()).unwrap_or("nothing");
    let location = format!("http://elsewhere/login?session={value}");
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}
