//! Owns TLS to Redis: the calls of the OpenSSL that librdkafka links. All unsafe code of `edge/redis` is here.
//!
//! The declarations are those of OpenSSL 1.1.1 and later. A crate with more of them would need its own build of OpenSSL or
//! another TLS library, and `deny.toml` allows one.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_ulong, c_void};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

/// Opaque types of OpenSSL.
#[repr(C)]
struct Method([u8; 0]);
#[repr(C)]
struct Context([u8; 0]);
#[repr(C)]
struct Session([u8; 0]);
#[repr(C)]
struct Parameters([u8; 0]);

type PasswordCallback = extern "C" fn(*mut c_char, c_int, c_int, *mut c_void) -> c_int;

unsafe extern "C" {
    fn TLS_client_method() -> *const Method;
    fn SSL_CTX_new(method: *const Method) -> *mut Context;
    fn SSL_CTX_free(context: *mut Context);
    fn SSL_CTX_ctrl(context: *mut Context, command: c_int, number: c_long, pointer: *mut c_void) -> c_long;
    fn SSL_CTX_set_verify(context: *mut Context, mode: c_int, callback: *const c_void);
    fn SSL_CTX_set_default_verify_paths(context: *mut Context) -> c_int;
    fn SSL_CTX_load_verify_locations(context: *mut Context, file: *const c_char, folder: *const c_char) -> c_int;
    fn SSL_CTX_set_default_passwd_cb(context: *mut Context, callback: PasswordCallback);
    fn SSL_CTX_use_certificate_chain_file(context: *mut Context, file: *const c_char) -> c_int;
    fn SSL_CTX_use_PrivateKey_file(context: *mut Context, file: *const c_char, format: c_int) -> c_int;
    fn SSL_new(context: *mut Context) -> *mut Session;
    fn SSL_free(session: *mut Session);
    fn SSL_ctrl(session: *mut Session, command: c_int, number: c_long, pointer: *mut c_void) -> c_long;
    fn SSL_set_fd(session: *mut Session, descriptor: c_int) -> c_int;
    fn SSL_set_hostflags(session: *mut Session, flags: u32);
    fn SSL_set1_host(session: *mut Session, name: *const c_char) -> c_int;
    fn SSL_get0_param(session: *mut Session) -> *mut Parameters;
    fn X509_VERIFY_PARAM_set1_ip_asc(parameters: *mut Parameters, address: *const c_char) -> c_int;
    fn SSL_connect(session: *mut Session) -> c_int;
    fn SSL_read(session: *mut Session, into: *mut c_void, length: c_int) -> c_int;
    fn SSL_write(session: *mut Session, from: *const c_void, length: c_int) -> c_int;
    fn SSL_shutdown(session: *mut Session) -> c_int;
    fn SSL_get_error(session: *const Session, result: c_int) -> c_int;
    fn SSL_get_verify_result(session: *const Session) -> c_long;
    fn X509_verify_cert_error_string(code: c_long) -> *const c_char;
    fn ERR_clear_error();
    fn ERR_peek_last_error() -> c_ulong;
    fn ERR_reason_error_string(code: c_ulong) -> *const c_char;
}

/// Numbers of `openssl/ssl.h`, `openssl/x509_vfy.h` and `openssl/x509v3.h`.
const SET_HOST_NAME: c_int = 55;
const SET_MIN_VERSION: c_int = 123;
const TLS_1_2: c_long = 0x0303;
const VERIFY_PEER: c_int = 1;
const FORMAT_PEM: c_int = 1;
const NO_PARTIAL_WILDCARDS: u32 = 4;
const ERROR_SSL: c_int = 1;
const ERROR_WANT_READ: c_int = 2;
const ERROR_WANT_WRITE: c_int = 3;
const ERROR_SYSCALL: c_int = 5;
const ERROR_ZERO_RETURN: c_int = 6;

/// Where systems keep the CA certificates that they trust, in addition to what OpenSSL was built with.
const SYSTEM_CAS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The files of a TLS client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    /// The CA certificates; `None`: those that the system trusts.
    pub(super) ca: Option<PathBuf>,
    /// The certificate of this client and its key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// Why there is no TLS connection. No text contains a name, an address or a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// A file cannot be used: the key of the configuration, and the reason.
    #[error("redis.{0}: {1}")]
    File(&'static str, String),
    /// The certificate of Redis is not trusted.
    #[error("the certificate of Redis is not trusted: {}", certificate_problem(*.0))]
    Certificate(c_long),
    /// The peers do not agree on a connection.
    #[error("TLS: {0}")]
    Protocol(String),
    /// Nothing came back in time; Redis without TLS waits for the end of what it takes for a command.
    #[error("no response to the TLS handshake; does this port of Redis expect connections without TLS?")]
    NoAnswer,
    /// The connection failed.
    #[error(transparent)]
    Io(io::Error),
}

/// What is wrong with a certificate, by OpenSSL's number of the problem.
fn certificate_problem(code: c_long) -> String {
    match code {
        2 | 7 | 18..=21 => {
            "its CA is not among those in `redis.ca_file` (without that key, those of the system)".into()
        }
        62 | 64 => "it was issued for another host name than the one in `redis.url`".into(),
        // SAFETY: OpenSSL returns a static C string for every number.
        code => text(unsafe { X509_verify_cert_error_string(code) }),
    }
}

/// Copies a static text of OpenSSL.
fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return "unknown error".into();
    }
    // SAFETY: callers pass null or a static C string.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// The reason of the last error of this thread. It names no value.
fn last_error() -> String {
    // SAFETY: both only read; the first returns 0 if there is no error, which has no reason.
    let reason = text(unsafe { ERR_reason_error_string(ERR_peek_last_error()) });
    let hint = match reason.as_str() {
        "wrong version number" | "packet length too long" | "http request" => {
            "; does this port of Redis expect connections without TLS?"
        }
        reason if reason.contains("certificate required") || reason.contains("handshake failure") => {
            "; does Redis require a client certificate, `redis.certificate_file`?"
        }
        reason if reason.contains("alert unknown ca") || reason.contains("alert bad certificate") => {
            "; Redis does not trust the CA of `redis.certificate_file`"
        }
        _ => "",
    };
    reason + hint
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| "the path contains a NUL character".into())
}

/// A key with a password is refused: without this, OpenSSL would ask for it on the terminal.
extern "C" fn no_password(_: *mut c_char, _: c_int, _: c_int, _: *mut c_void) -> c_int {
    -1
}

/// The settings of TLS connections.
pub(super) struct TlsClient(NonNull<Context>);

impl Drop for TlsClient {
    fn drop(&mut self) {
        // SAFETY: we own this reference and use it no more.
        unsafe { SSL_CTX_free(self.0.as_ptr()) }
    }
}

impl TlsClient {
    /// Reads the files.
    pub(super) fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        // SAFETY: the method is static; the new context is ours.
        let context = NonNull::new(unsafe { SSL_CTX_new(TLS_client_method()) });
        let client = Self(context.ok_or_else(|| TlsError::Protocol(last_error()))?);
        // SAFETY: the context is alive; a null callback means the checks of OpenSSL.
        unsafe {
            SSL_CTX_ctrl(client.0.as_ptr(), SET_MIN_VERSION, TLS_1_2, ptr::null_mut());
            SSL_CTX_set_verify(client.0.as_ptr(), VERIFY_PEER, ptr::null());
            SSL_CTX_set_default_passwd_cb(client.0.as_ptr(), no_password);
        }
        match &files.ca {
            Some(file) => client.use_file("ca_file", file, |context, path| {
                // SAFETY: the context and the path are alive.
                unsafe { SSL_CTX_load_verify_locations(context, path, ptr::null()) }
            })?,
            None => client.use_system_cas(),
        }
        if let Some((certificate, key)) = &files.client {
            client.use_file("certificate_file", certificate, |context, path| {
                // SAFETY: as above.
                unsafe { SSL_CTX_use_certificate_chain_file(context, path) }
            })?;
            // This also compares the key with the certificate.
            client.use_file("key_file", key, |context, path| {
                // SAFETY: as above.
                unsafe { SSL_CTX_use_PrivateKey_file(context, path, FORMAT_PEM) }
            })?;
        }
        Ok(client)
    }

    fn use_file(
        &self,
        key: &'static str,
        file: &Path,
        load: impl Fn(*mut Context, *const c_char) -> c_int,
    ) -> Result<(), TlsError> {
        // For a reason that names the file system's error.
        std::fs::File::open(file).map_err(|error| TlsError::File(key, error.to_string()))?;
        let path = c_path(file).map_err(|reason| TlsError::File(key, reason))?;
        // SAFETY: changes only the errors of this thread.
        unsafe { ERR_clear_error() };
        match load(self.0.as_ptr(), path.as_ptr()) {
            1 => Ok(()),
            _ => Err(TlsError::File(key, format!("not usable: {}", last_error()))),
        }
    }

    /// A file that is missing or unusable is skipped: certificates are then not trusted.
    fn use_system_cas(&self) {
        // SAFETY: the context is alive, and so is each path.
        unsafe { SSL_CTX_set_default_verify_paths(self.0.as_ptr()) };
        for path in SYSTEM_CAS.iter().filter_map(|path| CString::new(*path).ok()) {
            // SAFETY: as above.
            unsafe { SSL_CTX_load_verify_locations(self.0.as_ptr(), path.as_ptr(), ptr::null()) };
        }
    }

    /// Makes a TLS connection of a TCP connection, and verifies that the certificate was issued for `host`.
    pub(super) fn connect(&self, tcp: TcpStream, host: &str) -> Result<TlsStream, TlsError> {
        // SAFETY: the context is alive; the new session is ours, and keeps the context alive.
        let session = NonNull::new(unsafe { SSL_new(self.0.as_ptr()) });
        let session = session.ok_or_else(|| TlsError::Protocol(last_error()))?;
        let stream = TlsStream { session, tcp, usable: false };
        let raw = stream.session.as_ptr();
        let name = CString::new(host).map_err(|_| TlsError::File("url", "the host name contains a NUL".into()))?;
        // SAFETY: the session and the name are alive, and OpenSSL copies the name; the socket is open for as long as the
        // stream, which owns both.
        let ready = unsafe {
            SSL_set_hostflags(raw, NO_PARTIAL_WILDCARDS);
            let named = if host.parse::<IpAddr>().is_ok() {
                X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(raw), name.as_ptr())
            } else {
                SSL_ctrl(raw, SET_HOST_NAME, 0, name.as_ptr().cast_mut().cast());
                SSL_set1_host(raw, name.as_ptr())
            };
            named == 1 && SSL_set_fd(raw, stream.tcp.as_raw_fd()) == 1
        };
        if !ready {
            return Err(TlsError::Protocol(last_error()));
        }
        stream.handshake()
    }
}

/// A TLS connection. The timeouts are those of the TCP connection.
pub(super) struct TlsStream {
    session: NonNull<Session>,
    tcp: TcpStream,
    /// Whether the handshake has succeeded and nothing has failed since.
    usable: bool,
}

// SAFETY: OpenSSL allows the use of a session by any thread, one at a time, and only `&mut` gives access to it.
unsafe impl Send for TlsStream {}

impl Drop for TlsStream {
    fn drop(&mut self) {
        // SAFETY: we own the session and use it no more. A shutdown is allowed only if nothing has failed.
        unsafe {
            if self.usable {
                SSL_shutdown(self.session.as_ptr());
            }
            SSL_free(self.session.as_ptr());
        }
    }
}

impl TlsStream {
    fn handshake(mut self) -> Result<Self, TlsError> {
        // SAFETY: the session is alive.
        let result = self.call(|session| unsafe { SSL_connect(session) });
        match result {
            Ok(_) => Ok(self),
            Err(error) => {
                // SAFETY: the session is alive; 0 means that the certificate is valid, or that there was none yet.
                match unsafe { SSL_get_verify_result(self.session.as_ptr()) } {
                    0 => Err(match error {
                        TlsError::Io(error) if error.kind() == io::ErrorKind::TimedOut => TlsError::NoAnswer,
                        error => error,
                    }),
                    code => Err(TlsError::Certificate(code)),
                }
            }
        }
    }

    /// Calls OpenSSL until it has finished. Returns the number of bytes; 0: Redis has closed the connection.
    fn call(&mut self, mut operation: impl FnMut(*mut Session) -> c_int) -> Result<usize, TlsError> {
        let (result, cause) = loop {
            // SAFETY: changes only the errors of this thread, which `SSL_get_error` reads.
            unsafe { ERR_clear_error() };
            let result = operation(self.session.as_ptr());
            let cause = io::Error::last_os_error();
            if result > 0 || cause.kind() != io::ErrorKind::Interrupted {
                break (result, cause);
            }
        };
        if let Some(count) = usize::try_from(result).ok().filter(|count| *count > 0) {
            self.usable = true;
            return Ok(count);
        }
        // SAFETY: the session is alive, and the result is that of its last operation.
        let error = match unsafe { SSL_get_error(self.session.as_ptr(), result) } {
            ERROR_ZERO_RETURN => return Ok(0),
            // The timeout of the socket.
            ERROR_WANT_READ | ERROR_WANT_WRITE => TlsError::Io(io::ErrorKind::TimedOut.into()),
            ERROR_SYSCALL if cause.raw_os_error().is_some_and(|code| code != 0) => TlsError::Io(cause),
            ERROR_SSL => TlsError::Protocol(last_error()),
            _ => TlsError::Io(io::ErrorKind::UnexpectedEof.into()),
        };
        self.usable = false;
        Err(error)
    }
}

fn io_error(error: TlsError) -> io::Error {
    match error {
        TlsError::Io(error) => error,
        error => io::Error::other(error),
    }
}

fn c_length(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

impl Read for TlsStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let (pointer, length) = (into.as_mut_ptr().cast(), c_length(into.len()));
        // SAFETY: the session is alive, and the buffer has this length.
        self.call(|session| unsafe { SSL_read(session, pointer, length) }).map_err(io_error)
    }
}

impl Write for TlsStream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        let (pointer, length) = (from.as_ptr().cast(), c_length(from.len()));
        // SAFETY: the session is alive, and the buffer has this length.
        self.call(|session| unsafe { SSL_write(session, pointer, length) }).map_err(io_error)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
