-- A shop's database, as a commerce service would own it. Every table has the same audit columns.
-- No foreign keys: the services that write here do not share transactions, so references break at
-- times, and finding that is the quality rules' work.
-- No generated columns: a snapshot sends them and the stream does not.

create table customers (
    customer_id  uuid primary key,
    email        varchar(255),
    name         varchar(255) not null,
    phone        varchar(50),
    country      varchar(2),
    segment      varchar(20),
    created_at   timestamptz not null default now(),
    created_by   varchar(255) not null,
    updated_at   timestamptz not null default now(),
    updated_by   varchar(255) not null,
    version      integer not null default 1,
    deleted_at   timestamptz,
    deleted_by   varchar(255)
);

create table products (
    product_id   uuid primary key,
    sku          varchar(50) not null,
    name         varchar(255) not null,
    category     varchar(100),
    price        numeric(10,2) not null,
    weight_kg    numeric(8,3),
    attributes   jsonb,
    active       boolean not null default true,
    created_at   timestamptz not null default now(),
    created_by   varchar(255) not null,
    updated_at   timestamptz not null default now(),
    updated_by   varchar(255) not null,
    version      integer not null default 1,
    deleted_at   timestamptz,
    deleted_by   varchar(255)
);

create table orders (
    order_id         uuid primary key,
    customer_id      uuid not null,
    status           varchar(50) not null default 'PENDING',
    total_amount     numeric(10,2) not null,
    discount_amount  numeric(10,2) not null default 0,
    tax_amount       numeric(10,2) not null default 0,
    shipping_amount  numeric(10,2) not null default 0,
    currency         varchar(3) not null default 'USD',
    note             text,
    created_at       timestamptz not null default now(),
    created_by       varchar(255) not null,
    updated_at       timestamptz not null default now(),
    updated_by       varchar(255) not null,
    version          integer not null default 1,
    deleted_at       timestamptz,
    deleted_by       varchar(255)
);

create table order_items (
    order_item_id    uuid primary key,
    order_id         uuid not null,
    product_id       uuid not null,
    quantity         integer not null,
    unit_price       numeric(10,2) not null,
    discount_amount  numeric(10,2) not null default 0,
    tax_amount       numeric(10,2) not null default 0,
    line_total       numeric(10,2) not null,
    created_at       timestamptz not null default now(),
    created_by       varchar(255) not null,
    updated_at       timestamptz not null default now(),
    updated_by       varchar(255) not null,
    version          integer not null default 1,
    deleted_at       timestamptz,
    deleted_by       varchar(255)
);
create index on order_items (order_id);

create table payments (
    payment_id          uuid primary key,
    order_id            uuid not null,
    amount              numeric(10,2) not null,
    currency            varchar(3) not null,
    method              varchar(20) not null,
    status              varchar(20) not null,
    paid_at             timestamptz,
    provider_reference  text,
    created_at          timestamptz not null default now(),
    created_by          varchar(255) not null,
    updated_at          timestamptz not null default now(),
    updated_by          varchar(255) not null,
    version             integer not null default 1,
    deleted_at          timestamptz,
    deleted_by          varchar(255)
);
create index on payments (order_id);

-- Uncompressed, a note over 2 kB always lies out of line: an update that leaves it alone then
-- streams the placeholder of an unavailable value instead of the note.
alter table orders alter column note set storage external;

-- One table streams whole rows in `before`; the others only the key.
alter table products replica identity full;
