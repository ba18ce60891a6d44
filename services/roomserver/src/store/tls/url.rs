//! Reads the TLS settings of a connection URL.

use super::TlsError;

/// Whether to speak TLS, and what to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Mode {
    /// No TLS.
    Plain,
    /// TLS; the certificate is verified only if there is something to verify it by.
    Require,
    /// The certificate must come of a trusted authority.
    VerifyCa,
    /// It must also be that of the host.
    VerifyFull,
}

/// Where to connect, and how.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct Target {
    /// The URL without what it says of TLS.
    pub(in crate::store) url: String,
    /// Whether to speak TLS.
    pub(in crate::store) mode: Mode,
    /// File with trusted authorities.
    pub(super) root_certificates: Option<String>,
    /// File with our certificate.
    pub(super) certificate: Option<String>,
    /// File with its key.
    pub(super) key: Option<String>,
}

impl Target {
    /// Reads a URL, or a list of `key=value` with spaces between.
    pub(in crate::store) fn parse(text: &str) -> Result<Self, TlsError> {
        let mut target = Self {
            url: String::new(),
            mode: Mode::Plain,
            root_certificates: None,
            certificate: None,
            key: None,
        };
        let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        let (address, parameters, separator) = match text.split_once('?') {
            Some((address, parameters)) if is_url => (Some(address), parameters, '&'),
            _ if is_url => (Some(text), "", '&'),
            _ => (None, text, ' '),
        };
        let mut rest = Vec::new();
        for parameter in parameters.split(separator) {
            if !target.take(parameter, is_url)? {
                rest.push(parameter);
            }
        }
        let rest = rest.join(&separator.to_string());
        target.url = match address {
            Some(address) if rest.is_empty() => address.to_owned(),
            Some(address) => format!("{address}?{rest}"),
            None => rest,
        };
        Ok(target)
    }

    /// Takes a parameter if it is about TLS.
    fn take(&mut self, parameter: &str, is_url: bool) -> Result<bool, TlsError> {
        let Some((key, value)) = parameter.split_once('=') else { return Ok(false) };
        let value = if is_url { unescape(value)? } else { value.trim_matches('\'').to_owned() };
        match key.trim() {
            "sslmode" => {
                self.mode = match value.as_str() {
                    "disable" | "allow" | "prefer" => Mode::Plain,
                    "require" => Mode::Require,
                    "verify-ca" => Mode::VerifyCa,
                    "verify-full" => Mode::VerifyFull,
                    other => return Err(TlsError::Url(format!("there is no sslmode={other}"))),
                };
            }
            "sslrootcert" => self.root_certificates = Some(value),
            "sslcert" => self.certificate = Some(value),
            "sslkey" => self.key = Some(value),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Undoes percent-encoding.
fn unescape(text: &str) -> Result<String, TlsError> {
    let wrong = || TlsError::Url(format!("{text} is not encoded as URLs are"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
        rest = after;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, Mode, Option<String>) {
        let target = Target::parse(text).unwrap();
        (target.url, target.mode, target.root_certificates)
    }

    #[test]
    fn what_is_about_tls_is_taken_out() {
        for (text, url, mode, roots) in [
            ("postgres:///plexus?host=/run", "postgres:///plexus?host=/run", Mode::Plain, None),
            ("postgres://h/d", "postgres://h/d", Mode::Plain, None),
            ("postgres://h/d?sslmode=require", "postgres://h/d", Mode::Require, None),
            (
                "postgresql://h/d?sslmode=verify-full&user=a&sslrootcert=%2Fetc%2Fca.pem",
                "postgresql://h/d?user=a",
                Mode::VerifyFull,
                Some("/etc/ca.pem"),
            ),
            (
                "host=h sslmode=verify-ca sslrootcert='/ca.pem' dbname=d",
                "host=h dbname=d",
                Mode::VerifyCa,
                Some("/ca.pem"),
            ),
        ] {
            assert_eq!(parse(text), (url.to_owned(), mode, roots.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["postgres://h/d?sslmode=maybe", "postgres://h/d?sslrootcert=%G", "host=h sslmode=verify_full"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
