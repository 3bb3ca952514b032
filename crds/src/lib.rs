//! Stockstream's custom resources: types, validation, generated schemas
