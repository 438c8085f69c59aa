//! The ACME protocol (RFC 8555).
