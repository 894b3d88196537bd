//! REST shapes and error codes, shared with the SDK.
