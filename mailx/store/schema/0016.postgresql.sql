-- MailX schema 16: what other MailX servers have delivered, so that nothing they repeat is stored twice.
--   transfers.transfer   Cipher.hash(b"transfer", our domain and theirs, the transfer's id)
--   transfers.recipient  Cipher.hash(b"transferred", transfer, the recipient's address)
--   transfers.outcome    Cipher.seal(b"transfer", transfer and recipient, JSON of core.transfers)
CREATE TABLE transfers (
    transfer BYTEA NOT NULL,
    recipient BYTEA NOT NULL,
    created BIGINT NOT NULL,
    outcome BYTEA NOT NULL,                      -- sealed
    PRIMARY KEY (transfer, recipient)
);
CREATE INDEX transfers_created ON transfers (created);
