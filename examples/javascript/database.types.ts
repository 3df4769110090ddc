// The schema `ingest` for supabase-js: createClient<Database>(url, key).schema("ingest").
// Made by: python -m tests.support.database_types

export type Json =
  | string
  | number
  | boolean
  | null
  | { [key: string]: Json | undefined }
  | Json[]

export type Database = {
  ingest: {
    Tables: {
      chunk_lexemes: {
        Row: {
          access: string
          chunk_id: string
          document_id: string
          index_version: number
          lexemes: unknown
          object_id: string
          owner_id: string | null
          stemmer: string
        }
        Insert: never
        Update: never
        Relationships: []
      }
      chunk_positions: {
        Row: {
          chunk_id: string
          document_id: string
          index_version: number
          locator: Json
          ordinal: number
          page_end: number | null
          page_start: number | null
        }
        Insert: never
        Update: never
        Relationships: []
      }
      chunks: {
        Row: {
          access: string
          content: string
          content_hash: string
          document_id: string
          embedding: string
          fts: unknown
          headings: string[]
          id: string
          index_version: number
          metadata: Json
          object_id: string
          owner_id: string | null
          token_count: number
        }
        Insert: never
        Update: never
        Relationships: []
      }
      conversations: {
        Row: {
          created_at: string
          id: string
          owner_id: string
          title: string
          turns: number
          updated_at: string
        }
        Insert: never
        Update: never
        Relationships: []
      }
      documents: {
        Row: {
          access: string
          bucket_id: string
          chunk_count: number
          content_sha256: string | null
          created_at: string
          error_code: string | null
          error_message: string | null
          hidden_characters: number
          id: string
          latest_job_id: string | null
          metadata: Json
          mime_type: string | null
          object_id: string
          object_name: string
          owner_id: string | null
          page_count: number | null
          quarantined_chunks: number
          ready_at: string | null
          searchable: boolean
          size_bytes: number | null
          source_id: number | null
          status: string
          storage_version: string
          title: string | null
          token_count: number
          uncomputed_formulas: number
          unread_page_numbers: number[]
          unread_pages: number
          updated_at: string
        }
        Insert: never
        Update: never
        Relationships: []
      }
      index_versions: {
        Row: {
          chunking: Json
          created_at: string
          dimensions: number
          document_prefix: string
          drop_at: string | null
          filled_to: string | null
          id: number
          is_bulk: boolean
          is_former: boolean
          is_hurried: boolean
          is_paused: boolean
          model: string
          provider: string
          query_prefix: string
          retired_at: string | null
          sends_dimensions: boolean
          state: string
        }
        Insert: never
        Update: never
        Relationships: []
      }
      jobs: {
        Row: {
          attempt: number
          bucket_id: string
          cancel_requested: boolean
          chunks_embedded: number
          chunks_reused: number
          chunks_total: number | null
          cost_usd: number
          created_at: string
          document_id: string | null
          error_code: string | null
          error_message: string | null
          finished_at: string | null
          hold_reason: string | null
          id: string
          index_version: number
          kind: string
          max_attempts: number
          next_attempt_at: string | null
          object_name: string
          owner_id: string | null
          pages_done: number
          pages_total: number | null
          priority: number
          stage: string
          started_at: string | null
          state: string
          storage_version: string
          tokens_used: number
          updated_at: string
        }
        Insert: never
        Update: never
        Relationships: []
      }
      messages: {
        Row: {
          cited: number[]
          content: string
          conversation_id: string
          created_at: string
          id: string
          outcome: string | null
          owner_id: string
          role: string
          source_chunks: string[]
          source_documents: string[]
          turn: number
        }
        Insert: never
        Update: never
        Relationships: []
      }
      usage: {
        Row: {
          day: string
          model: string
          owner_id: string
          purpose: string
          tokens: number
          usd: number
        }
        Insert: never
        Update: never
        Relationships: []
      }
    }
    Functions: {
      active_index: {
        Args: never
        Returns: {
          id: number
          model: string
          dimensions: number
          sends_dimensions: boolean
          query_prefix: string
          document_prefix: string
          provider: string
        }[]
      }
      ask_question: {
        Args: {
          question: string
          conversation_id?: string | null
        }
        Returns: {
          conversation: string
          message_id: string
          history: Json
        }[]
      }
      cancel_job: {
        Args: {
          job_id: string
        }
        Returns: string
      }
      delete_conversation: {
        Args: {
          conversation_id: string
        }
        Returns: boolean
      }
      explain_job: {
        Args: {
          job_id: string
        }
        Returns: {
          id: string
          object_name: string
          state: string
          situation: string
          explanation: string
          jobs_before: number | null
          live_workers: number
          hold_reason: string | null
          next_attempt_at: string | null
          stage: string
          progress: number | null
          per_second: number | null
          seconds_left: number | null
          attempt: number
          max_attempts: number
          error_code: string | null
          error_message: string | null
          remedy: string | null
        }[]
      }
      hybrid_search: {
        Args: {
          query_text: string | null
          query_embedding?: string | null
          model?: string | null
          match_count?: number | null
          bucket?: string | null
          path_prefix?: string | null
          document_ids?: string[] | null
          metadata_filter?: Json | null
          created_since?: string | null
          created_until?: string | null
          vector_weight?: number | null
          text_weight?: number | null
          candidates?: number | null
          with_context?: number | null
          max_per_document?: number | null
          index_version?: number | null
        }
        Returns: {
          chunk_id: string
          document_id: string
          bucket_id: string
          object_name: string
          title: string | null
          headings: string[]
          page_start: number | null
          page_end: number | null
          content: string
          metadata: Json
          score: number
          vector_score: number
          text_score: number
          context: string | null
        }[]
      }
      match_chunks: {
        Args: {
          query_embedding: string
          model: string
          match_count?: number | null
          bucket?: string | null
          path_prefix?: string | null
          document_ids?: string[] | null
          metadata_filter?: Json | null
          created_since?: string | null
          created_until?: string | null
          min_score?: number | null
          index_version?: number | null
        }
        Returns: {
          chunk_id: string
          document_id: string
          bucket_id: string
          object_name: string
          title: string | null
          headings: string[]
          page_start: number | null
          page_end: number | null
          content: string
          metadata: Json
          score: number
        }[]
      }
      match_documents: {
        Args: {
          query_embedding: string
          match_count?: number | null
          filter?: Json | null
          model?: string | null
          index_version?: number | null
        }
        Returns: {
          id: string
          content: string
          metadata: Json
          similarity: number
          embedding: string
        }[]
      }
      message_sources: {
        Args: {
          message_id: string
        }
        Returns: {
          number: number
          is_cited: boolean
          state: string
          chunk_id: string
          document_id: string
          bucket_id: string
          object_name: string
          title: string | null
          headings: string[]
          page_start: number | null
          page_end: number | null
          content: string
        }[]
      }
      record_answer: {
        Args: {
          message_id: string
          answer: string
          source_chunks: string[]
          source_documents: string[]
          cited: number[]
        }
        Returns: string
      }
      record_query: {
        Args: {
          index_version: number
          tokens: number
        }
        Returns: undefined
      }
      retry_job: {
        Args: {
          job_id: string
        }
        Returns: string
      }
      search_facets: {
        Args: {
          query_text: string | null
          query_embedding?: string | null
          model?: string | null
          match_count?: number | null
          bucket?: string | null
          path_prefix?: string | null
          document_ids?: string[] | null
          metadata_filter?: Json | null
          created_since?: string | null
          created_until?: string | null
          vector_weight?: number | null
          text_weight?: number | null
          candidates?: number | null
          with_context?: number | null
          max_per_document?: number | null
          index_version?: number | null
        }
        Returns: {
          facet: string
          value: string | null
          chunks: number
          documents: number
        }[]
      }
      similar: {
        Args: {
          document_id: string
          match_count?: number | null
        }
        Returns: {
          id: string
          bucket_id: string
          object_name: string
          title: string | null
          mime_type: string | null
          score: number
        }[]
      }
    }
    Views: {
      [_ in never]: never
    }
    Enums: {
      [_ in never]: never
    }
    CompositeTypes: {
      [_ in never]: never
    }
  }
}
