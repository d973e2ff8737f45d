-- MailX schema 27: what COPY adds to the references of a message, in rows that are quickly written: those of messages have the summary.
-- While a message has a row here, messages.refs is above 0; what goes is taken from here first.
CREATE TABLE copies (
    message_id INTEGER PRIMARY KEY,             -- no foreign key: its row goes before the message's
    count INTEGER NOT NULL                      -- entries beyond messages.refs, above 0
);
