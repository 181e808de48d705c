//! PURE: Avro bytes ⇄ domain, and the signature over them; one file per subject.
//! Never panics on input: bad bytes are a [`DecodeError`].
