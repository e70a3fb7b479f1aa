-- The interaction system's database as MariaDB keeps it; see postgres.sql for what is left out and why.

create table users (
    user_id        integer auto_increment primary key,
    username       varchar(50) unique not null,
    password_hash  varchar(255) not null,
    email          varchar(100) unique not null,
    last_login     datetime(6),
    is_active      boolean not null default true
);

create table sites (
    site_id      integer auto_increment primary key,
    name         varchar(100) unique not null,
    description  text,
    is_active    boolean not null default true
);

create table user_site_mapping (
    mapping_id   integer auto_increment primary key,
    user_id      integer not null,
    site_id      integer not null,
    role         varchar(50) not null,
    assigned_at  datetime(6) not null default current_timestamp(6),
    key (user_id, site_id)
);

create table interactions (
    interaction_id  integer auto_increment primary key,
    site_id         integer not null,
    title           varchar(255) not null,
    type            varchar(50) not null,
    lead            varchar(100) not null,
    start_datetime  datetime(6) not null,
    timezone        varchar(50) not null,
    end_datetime    datetime(6) not null,
    location        varchar(255),
    description     text,
    notes           text,
    created_by      integer not null,
    created_at      datetime(6) not null default current_timestamp(6),
    updated_by      integer,
    updated_at      datetime(6),
    key (site_id)
);
